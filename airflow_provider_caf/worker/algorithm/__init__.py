"""The process of an algorithm, the constants that it makes and those that it reads."""
