"""connect, disconnect and emit in PythonQt's manner, on PySide6's signals.

A callable gets as many arguments as the C++ signature has, fewer only where a Python function takes
fewer. It is held strongly, may be connected twice, and what it raises is printed and swallowed;
`slotErrors` keeps it, so that a test can fail on it.
"""

import contextlib
import inspect
import sys
import traceback

import shiboken6
from PySide6 import QtCore

from .strict import ofClass

slotErrors = []
_connections = {}  # address of the sender -> [(name, signature, callable, adapter, raw signal)]


def normalized(signature):
    return bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()


def declared(cls, name):
    """Signatures of a signal that is made in Python (see widgets.signals)."""
    return getattr(cls, "_pySignals", {}).get(name)


def resolve(sender, signature):
    """(name, normalized signature, PySide6 signal) or None if there is no such signal."""
    signature = normalized(signature)
    name, bracket, rest = signature.partition("(")
    if not bracket:
        return None
    described = ofClass(type(sender))
    own = declared(type(sender), name)
    if described is not None and described.signals:
        known = signature in described.signals or (own is not None and signature in own)
    else:
        known = own is None or signature in own
    if not known or (own is not None and signature not in own):
        return None
    raw = getattr(sender, name, None)
    if not isinstance(raw, QtCore.SignalInstance):
        return None
    if own is None:
        if sender.metaObject().indexOfSignal(signature) < 0:
            return None
        arguments = rest.rstrip(")")
        with contextlib.suppress(IndexError, KeyError, TypeError):
            raw = raw[arguments] if arguments else raw
    return name, signature, raw


def firstSignature(sender, name):
    """The signature that `sender.name.connect` means."""
    described = ofClass(type(sender))
    candidates = list(declared(type(sender), name) or ())
    if described:
        candidates += [s for s in described.signals if s.startswith(name + "(")]
    meta = sender.metaObject()
    for i in range(meta.methodCount()):
        method = meta.method(i)
        if bytes(method.name()).decode() == name:
            candidates.append(bytes(method.methodSignature()).decode())
    usable = [c for c in candidates if resolve(sender, c)]
    return max(usable, key=lambda s: 0 if s.endswith("()") else 1) if usable else None


def accepted(function):
    """How many positional arguments PythonQt passes at most; None: all."""
    code = None
    if inspect.isfunction(function):
        code, bound = function.__code__, 0
    elif inspect.ismethod(function) and inspect.isfunction(function.__func__):
        code, bound = function.__func__.__code__, 1
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - bound


def report(error):
    """An exception that no caller will see: printed, and kept for the test."""
    slotErrors.append(error)
    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)


def _adapter(signature, function):
    inside = signature.partition("(")[2].rstrip(")")
    count = len(inside.split(",")) if inside else 0
    limit = accepted(function)
    count = count if limit is None else min(count, limit)
    asBool = inside == "bool"

    def call(*arguments):
        arguments = arguments[:count]
        if asBool and arguments:
            arguments = (bool(arguments[0]),)
        try:
            function(*arguments)
        except Exception as error:
            report(error)

    return call


def connectSignal(sender, signature, function):
    found = resolve(sender, signature)
    if found is None:
        return False
    if not callable(function):
        raise TypeError(f"connect: {function!r} is not callable")
    name, signature, raw = found
    adapter = _adapter(signature, function)
    raw.connect(adapter)
    address = shiboken6.getCppPointer(sender)[0]
    if address not in _connections:
        _connections[address] = []
        QtCore.QObject.destroyed.__get__(sender).connect(lambda *_: _connections.pop(address, None))
    _connections[address].append((name, signature, function, adapter, raw))
    return True


def disconnectSignal(sender, signature, function=None):
    found = resolve(sender, signature)
    if found is None:
        return False
    kept = _connections.get(shiboken6.getCppPointer(sender)[0], [])
    for entry in list(kept):
        if entry[1] == found[1] and (function is None or entry[2] == function):
            entry[4].disconnect(entry[3])
            kept.remove(entry)
            if function is not None:
                return True
    return function is None


class BoundSignal:
    """`widget.clicked` as code under test sees it."""

    def __init__(self, sender, name, raw):
        self._sender, self._name, self._raw = sender, name, raw

    def connect(self, function):
        signature = firstSignature(self._sender, self._name)
        if signature is None:
            raise AttributeError(f"{type(self._sender).__name__} has no signal {self._name}")
        return connectSignal(self._sender, signature, function)

    def disconnect(self, function=None):
        signature = firstSignature(self._sender, self._name)
        return signature is not None and disconnectSignal(self._sender, signature, function)

    def emit(self, *arguments):
        self._raw.emit(*arguments)

    __call__ = emit

    def __repr__(self):
        return f"<qt signal {self._name} of {type(self._sender).__name__} instance>"
