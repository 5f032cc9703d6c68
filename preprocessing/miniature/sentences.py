"""English sentences without end, for the speech of the miniature corpora."""

import numpy as np

_WHO = (
    "the old farmer",
    "my neighbor",
    "a tired nurse",
    "her younger brother",
    "the new teacher",
    "every child",
    "our driver",
    "the quiet painter",
    "a tall stranger",
    "the baker",
)
_DOES = (
    "carried",
    "found",
    "painted",
    "sold",
    "watched",
    "borrowed",
    "dropped",
    "cleaned",
    "opened",
    "forgot",
)
_WHAT = (
    "a wooden box",
    "the yellow boat",
    "seven green apples",
    "that heavy book",
    "a silver watch",
    "two empty bottles",
    "the kitchen table",
    "a pair of gloves",
    "some warm bread",
    "the broken lamp",
)
_WHERE = (
    "behind the station",
    "near the river",
    "under the bridge",
    "on the third floor",
    "before breakfast",
    "after the storm",
    "last Thursday",
    "during the concert",
    "outside the village",
    "late in the evening",
)
_PLACES = ("Lisbon", "Oslo", "Chicago", "Vienna", "Nairobi", "Toronto", "Athens", "Seoul")
_NOTICES = (
    "Passengers for {place}, please go to gate {gate}.",
    "The flight to {place} is delayed by {minutes} minutes.",
    "This is the last call for {place}, gate {gate}.",
    "Will the owner of a black suitcase please come to gate {gate}.",
)
_NUMBERS = ("four", "nine", "twelve", "fifteen", "twenty", "thirty", "forty")
_THINKS = (
    "I thought",
    "you said",
    "they told me",
    "she knows",
    "we heard",
    "he wrote",
    "I remember",
    "you promised",
)
_THOUGHT = (
    "that the letter never came",
    "nobody would be there",
    "it was the other door",
    "we could leave on Monday",
    "the car was in the garage",
    "he had seen her again",
    "the money was on the table",
    "you were going to call me",
    "there was a room upstairs",
    "they are moving to another town",
)
_AFTERTHOUGHT = ("", "", " after all", " before the meeting", " and then he left", " you know")


def draw_sentence(stream: np.random.Generator) -> str:
    """A sentence of about 2 to 4 s."""
    words = (str(stream.choice(words)) for words in (_WHO, _DOES, _WHAT, _WHERE))
    return " ".join(words) + "."


def draw_line(stream: np.random.Generator) -> str:
    """A line of a dialog, about 2 to 3 s long, that fits any emotion."""
    words = (str(stream.choice(words)) for words in (_THINKS, _THOUGHT))
    return " ".join(words) + str(stream.choice(_AFTERTHOUGHT)) + "."


def draw_announcement(stream: np.random.Generator) -> str:
    """What a loudspeaker says in an airport, about 3 to 5 s long."""
    notice = str(stream.choice(_NOTICES))
    return notice.format(
        place=stream.choice(_PLACES),
        gate=stream.choice(_NUMBERS),
        minutes=stream.choice(_NUMBERS),
    )
