"""What the people of a synthetic conversation talk about: exchanges written for this project.

Each exchange is spoken line by line, the two people taking turns. Every voice can speak every line, so a bank of the
whole script in a few voices serves thousands of clips.
"""

from __future__ import annotations

EXCHANGES: tuple[tuple[str, ...], ...] = (
    ("Did you see the news about the bridge this morning?", "I did. They want to close it for the whole summer.",
     "That will make the drive to work twice as long."),
    ("How was the trip up north?", "Beautiful, but it rained from Tuesday to Friday.",
     "You should have borrowed my big umbrella.", "Maybe next time."),
    ("I finally fixed the kitchen window.", "Really? I thought you had given up on that.",
     "So did I, but the new hinge was cheap and it fits perfectly."),
    ("Do you want coffee or tea before we start?", "Coffee, please, with a bit of milk.", "Good choice."),
    ("What time does the train leave tomorrow?", "Five past eight, from the far platform.",
     "Then we should meet at half past seven."),
    ("My knee has been hurting since the weekend.", "You really ought to see somebody about it.",
     "I know, I keep putting it off."),
    ("Have you read the report I sent you?", "Only the first part, and I have a few questions.",
     "Go ahead, we have plenty of time."),
    ("The children are asking for a puppy again.", "And who is going to walk it in the winter?",
     "That is exactly what I told them."),
    ("We moved the meeting to Monday afternoon.", "That works for me, but Paul will be away.",
     "Could somebody else present his numbers?", "I can do it, if he sends me the slides."),
    ("This soup is wonderful. What did you put in it?", "Mostly pumpkin, some ginger, and far too much pepper.",
     "I think the pepper makes it."),
    ("I saw your brother at the market.", "He told me. He said you bought every last plum.",
     "Somebody has to make the jam."),
    ("They offered me the position in Boston.", "Congratulations! Are you going to take it?",
     "I would love to, but moving is expensive."),
    ("How many people are coming on Saturday?", "Fourteen, if everybody brings a friend.",
     "Then we need more chairs."),
    ("Would you mind turning the music down a little?", "Of course not. I did not know you were working.",
     "Thanks, I am nearly finished."),
    ("I cannot find my blue folder anywhere.", "Did you look on top of the piano?",
     "Why would I put it there?", "Because that is where you put everything."),
    ("The doctor says I should swim twice a week.", "We could go together, the pool opens at six.",
     "Six in the morning? You must be joking."),
    ("What do you think of the new colour on the wall?", "It is much warmer than I expected.",
     "We can still change it before the furniture comes."),
    ("The car makes a strange noise when I brake.", "That could be the pads. How old are they?",
     "Older than the car, I suppose."),
    ("Our team lost by one point in the last minute.", "I could not even watch the end.",
     "Next season will be better.", "You say that every year."),
    ("I am learning to play the violin.", "Good for you. What do the neighbours say?",
     "They have become very polite."),
    ("Should we book the small room or the large one?", "The large one. People always bring their families.",
     "Fine, I will call them this afternoon."),
    ("There was a power cut at the office today.", "For how long?", "Almost three hours. We played cards."),
    ("My phone stopped charging last night.", "Try another cable before you buy a new one.",
     "I tried four of them already."),
    ("Do you remember the house by the lake?", "With the broken boat? How could I forget.",
     "They turned it into a museum."),
    ("The budget is tighter than last year.", "Then let us start with what we cannot do without.",
     "That would be the sensors and the travel money."),
    ("I baked bread for the first time.", "How did it turn out?", "Flat as a board, but it tasted fine."),
    ("You look tired. Did you sleep badly?", "The dog next door was barking until four.",
     "Somebody should talk to the owner."),
    ("Where did you put the measuring tape?", "In the top drawer, under the maps.", "Found it, thank you."),
    ("We might get snow before the weekend.", "Then I had better change the tyres.",
     "Bring mine to the garage as well, would you?"),
    ("I have been thinking about what you said.", "And? Do you still believe I am wrong?",
     "No, I believe you were right about most of it."),
)  # fmt: skip
"""Conversations of three or four lines; the first speaker starts."""

BACKCHANNELS: tuple[str, ...] = ("Yeah.", "Right.", "Okay.", "I see.", "Sure.", "Oh.", "True.", "Uh huh.")
"""What listeners say without taking the floor."""

LINES: tuple[str, ...] = tuple(line for exchange in EXCHANGES for line in exchange) + BACKCHANNELS
"""Everything a voice bank holds, in a fixed order."""
