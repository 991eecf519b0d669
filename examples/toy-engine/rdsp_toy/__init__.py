"""An engine for rdsp, as small as one can be that is whole: see the tutorial "Write an engine codec"."""
