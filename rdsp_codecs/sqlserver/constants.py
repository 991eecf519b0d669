"""Numbers of the protocol ([MS-TDS], by section)."""

from __future__ import annotations

from typing import Final

# -- versions (2.2.6.4, LOGIN7: TDSVersion; 2.2.7.14, LOGINACK: TDSVersion, the same number in the other byte order)

TDS_7_1: Final = 0x71000001
TDS_7_2: Final = 0x72090002
TDS_7_3A: Final = 0x730A0003
TDS_7_3B: Final = 0x730B0003
TDS_7_4: Final = 0x74000004
TDS_8_0: Final = 0x08000000

# -- tokens (2.2.7)

ALTMETADATA: Final = 0x88
ALTROW: Final = 0xD3
COLINFO: Final = 0xA5
COLMETADATA: Final = 0x81
DATACLASSIFICATION: Final = 0xA3
DONE: Final = 0xFD
DONEINPROC: Final = 0xFF
DONEPROC: Final = 0xFE
ENVCHANGE: Final = 0xE3
ERROR: Final = 0xAA
FEATUREEXTACK: Final = 0xAE
FEDAUTHINFO: Final = 0xEE
INFO: Final = 0xAB
LOGINACK: Final = 0xAD
NBCROW: Final = 0xD2
OFFSET: Final = 0x78
ORDER: Final = 0xA9
RETURNSTATUS: Final = 0x79
RETURNVALUE: Final = 0xAC
ROW: Final = 0xD1
SESSIONSTATE: Final = 0xE4
SSPI: Final = 0xED
TABNAME: Final = 0xA4

# -- DONE (2.2.7.6): status

DONE_MORE: Final = 0x1
DONE_ERROR: Final = 0x2
DONE_INXACT: Final = 0x4
"""The specification has it; SQL Server does not set it ([MS-TDS] appendix A)."""
DONE_COUNT: Final = 0x10
DONE_ATTN: Final = 0x20
DONE_SRVERROR: Final = 0x100

# -- ENVCHANGE (2.2.7.9): type

ENV_DATABASE: Final = 1
ENV_LANGUAGE: Final = 2
ENV_CHARSET: Final = 3
ENV_PACKET_SIZE: Final = 4
ENV_SQL_COLLATION: Final = 7
ENV_BEGIN_TRANSACTION: Final = 8
ENV_COMMIT_TRANSACTION: Final = 9
ENV_ROLLBACK_TRANSACTION: Final = 10
ENV_ENLIST_DTC: Final = 11
ENV_DEFECT_TRANSACTION: Final = 12
ENV_MIRROR_PARTNER: Final = 13
ENV_PROMOTE_TRANSACTION: Final = 15
ENV_TM_ADDRESS: Final = 16
ENV_TRANSACTION_ENDED: Final = 17
ENV_RESET_ACK: Final = 18
ENV_USER_INSTANCE: Final = 19
ENV_ROUTING: Final = 20
ENV_ENHANCED_ROUTING: Final = 21

# -- ALL_HEADERS (2.2.5.3)

HEADER_QUERY_NOTIFICATIONS: Final = 1
HEADER_TRANSACTION_DESCRIPTOR: Final = 2
HEADER_TRACE_ACTIVITY: Final = 3

# -- transaction manager requests (2.2.6.9)

TM_GET_DTC_ADDRESS: Final = 0
TM_PROPAGATE_XACT: Final = 1
TM_BEGIN_XACT: Final = 5
TM_PROMOTE_XACT: Final = 6
TM_COMMIT_XACT: Final = 7
TM_ROLLBACK_XACT: Final = 8
TM_SAVE_XACT: Final = 9

# -- procedures that an RPC names by number (2.2.6.6)

SP_CURSOR: Final = 1
SP_CURSOROPEN: Final = 2
SP_CURSORPREPARE: Final = 3
SP_CURSOREXECUTE: Final = 4
SP_CURSORPREPEXEC: Final = 5
SP_CURSORUNPREPARE: Final = 6
SP_CURSORFETCH: Final = 7
SP_CURSOROPTION: Final = 8
SP_CURSORCLOSE: Final = 9
SP_EXECUTESQL: Final = 10
SP_PREPARE: Final = 11
SP_EXECUTE: Final = 12
SP_PREPEXEC: Final = 13
SP_PREPEXECRPC: Final = 14
SP_UNPREPARE: Final = 15

PROCEDURES: Final = {
    b"sp_cursor": SP_CURSOR,
    b"sp_cursoropen": SP_CURSOROPEN,
    b"sp_cursorprepare": SP_CURSORPREPARE,
    b"sp_cursorexecute": SP_CURSOREXECUTE,
    b"sp_cursorprepexec": SP_CURSORPREPEXEC,
    b"sp_cursorunprepare": SP_CURSORUNPREPARE,
    b"sp_cursorfetch": SP_CURSORFETCH,
    b"sp_cursoroption": SP_CURSOROPTION,
    b"sp_cursorclose": SP_CURSORCLOSE,
    b"sp_executesql": SP_EXECUTESQL,
    b"sp_prepare": SP_PREPARE,
    b"sp_execute": SP_EXECUTE,
    b"sp_prepexec": SP_PREPEXEC,
    b"sp_prepexecrpc": SP_PREPEXECRPC,
    b"sp_unprepare": SP_UNPREPARE,
}
"""By name, in lower case: drivers may use either."""

# -- features (2.2.6.4, FeatureExt)

FEATURE_SESSION_RECOVERY: Final = 0x01
FEATURE_FEDAUTH: Final = 0x02
FEATURE_COLUMN_ENCRYPTION: Final = 0x04
FEATURE_GLOBAL_TRANSACTIONS: Final = 0x05
FEATURE_AZURE_SQL: Final = 0x08
FEATURE_DATA_CLASSIFICATION: Final = 0x09
FEATURE_UTF8: Final = 0x0A
FEATURE_DNS_CACHING: Final = 0x0B
FEATURE_JSON: Final = 0x0D
FEATURE_VECTOR: Final = 0x0E
FEATURE_ENHANCED_ROUTING: Final = 0x0F
FEATURE_USER_AGENT: Final = 0x10
FEATURE_TERMINATOR: Final = 0xFF
