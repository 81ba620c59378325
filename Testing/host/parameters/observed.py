"""Lists and dictionaries that tell when they are changed, so that the node is changed with them."""


def _telling(name):
    def method(self, *args, **kwargs):
        result = getattr(super(type(self), self), name)(*args, **kwargs)
        self._changed()
        return self if name.startswith("__i") else result

    return method


class ObservedList(list):
    def __init__(self, values, changed):
        super().__init__(values)
        self._changed = changed


class ObservedDict(dict):
    def __init__(self, values, changed):
        super().__init__(values)
        self._changed = changed


for _name in (
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "remove",
    "reverse",
    "sort",
    "__delitem__",
    "__iadd__",
    "__imul__",
    "__setitem__",
):
    setattr(ObservedList, _name, _telling(_name))
for _name in (
    "clear",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "__delitem__",
    "__ior__",
    "__setitem__",
):
    setattr(ObservedDict, _name, _telling(_name))
