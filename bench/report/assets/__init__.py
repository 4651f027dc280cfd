"""Libraries that report.html carries inside it, so that it opens without a network, and the glue between them.

`vega.js` (Vega, Vega-Lite and vega-embed) draws, `datatables.js` and `datatables.css` (DataTables with jQuery) sort and
search tables; both are taken unchanged from packages of PyPI by `python -m bench.report.assets`, which says of what
version they are, and keep their licences in NOTICE.txt. `page.js` and `page.css` are this package's own.
"""
