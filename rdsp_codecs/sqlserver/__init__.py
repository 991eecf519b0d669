"""SQL Server's wire: the Tabular Data Stream, [MS-TDS]. Not an engine yet: there are no conversations and no relay."""
