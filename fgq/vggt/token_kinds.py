"""Which of a frame's tokens are its camera token, its registers and its patches."""

TOKEN_KINDS = ("camera", "register", "patch")


def kind_slices(num_special: int) -> dict[str, slice]:
    """Where the tokens of each kind lie along the token axis; `num_special` are those before the patches."""
    return {"camera": slice(0, 1), "register": slice(1, num_special), "patch": slice(num_special, None)}


def count_kinds(num_tokens: int, num_special: int) -> dict[str, int]:
    """Tokens of each kind in a frame of so many."""
    return {"camera": 1, "register": num_special - 1, "patch": num_tokens - num_special}
