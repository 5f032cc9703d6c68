"""The report: what results show, in sentences, tables, figures and one page."""
