"""The report of a replay: what would have changed, for whom, how sure that is, and a verdict."""

from stream.report.build import ReportError, build_report
from stream.report.checks import CheckError
from stream.report.content import Report
from stream.report.frames import report_frame
from stream.report.write import write_report

__all__ = ["CheckError", "Report", "ReportError", "build_report", "report_frame", "write_report"]
