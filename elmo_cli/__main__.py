"""`python -m elmo_cli`: the same as `elmo`."""

import os
import sys

if __name__ == "__main__":
    # Python puts the current folder first on the module path: only a source tree of ours has
    # modules of ours in it.
    if (
        not sys.flags.isolated
        and not getattr(sys.flags, "safe_path", False)
        and not __file__.startswith(sys.path[0] + os.sep)
    ):
        del sys.path[0]

    from elmo_cli.cli.main import main

    main()
