"""slicer.parameterNodeWrapper by its documented interface; creating widgets is not part of it."""

import types

from . import annotations, connectors, packs, wrapper

_OFFERED = {
    annotations: (
        "Choice Decimals Default Exclude IsInstance Label Maximum Minimum NotNone RangeBounds "
        "SingleStep Validator WithinRange"
    ),
    connectors: "GuiConnector createGuiConnector parameterNodeGuiConnector",
    packs: "FloatRange isParameterPack parameterPack",
    wrapper: (
        "SlicerParameterNamePropertyName findChildWidgetForParameter isParameterNodeWrapper "
        "parameterNodeWrapper"
    ),
}


def asModule():
    """What `import slicer.parameterNodeWrapper` finds."""
    module = types.ModuleType("slicer.parameterNodeWrapper", __doc__)
    module.__all__ = []
    for source, names in _OFFERED.items():
        for name in names.split():
            setattr(module, name, getattr(source, name))
            module.__all__.append(name)
    return module
