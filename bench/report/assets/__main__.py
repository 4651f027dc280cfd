"""Take the libraries of report.html anew from vl-convert-python and itables (the extra `dev` has both)."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Write vega.js, datatables.js, datatables.css and NOTICE.txt beside this file."""
    import itables
    import vl_convert

    source = Path(itables.__file__).parent / "html"
    vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version="6.4")
    tables = (source / "dt_bundle.js").read_text()
    code, _, licences = tables.partition("/*! Bundled license information:")
    name = re.search(r"export\{.*?(\w+) as default.*?\}", code)
    assert name, "the bundle of itables exports no default"
    code = f"(()=>{{{code[: name.start()]}window.DataTable={name[1]}}})();"
    _write("vega.js", f"(()=>{{{vega}}})();")
    _write("datatables.js", code)
    _write("datatables.css", (source / "dt_bundle.css").read_text())
    _write("NOTICE.txt", _notice(licences.rpartition("*/")[0]))


def _write(name: str, text: str) -> None:
    """A script inside a page ends at the first `</script`, wherever in the script it stands."""
    (HERE / name).write_text(re.sub(r"</(?=script|style)", r"<\\/", text, flags=re.IGNORECASE).rstrip() + "\n")


def _notice(bundled: str) -> str:
    import vl_convert

    vega = f"Vega {vl_convert.get_vega_version()}, Vega-Lite 6.4 and vega-embed {vl_convert.get_vega_embed_version()}"
    parts = [
        f"vega.js: {vega}, as vl-convert-python {importlib.metadata.version('vl-convert-python')} bundles them.",
        VEGA_LICENCE,
        f"datatables.js, datatables.css: DataTables, its extensions and jQuery, as itables "
        f"{importlib.metadata.version('itables')} bundles them. MIT licence; the parts and their own notices:",
        bundled.strip(),
    ]
    return "\n\n".join(parts)


VEGA_LICENCE = """Copyright (c) 2015-2026, University of Washington Interactive Data Lab. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote products
   derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF
THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE."""


if __name__ == "__main__":
    main()
