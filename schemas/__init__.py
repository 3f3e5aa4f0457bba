"""What a record is: one Arrow schema a table, with units, shapes, meaning, version and validators."""
