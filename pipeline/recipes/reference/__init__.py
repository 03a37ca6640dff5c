"""Steps of published code bases, exact to their bugs: one file per code base."""
