// Talking to the debug port: break-in, exceptions, module notices.
#include "kdp.h"

#define BREAKPOINT_LOAD_SYMBOLS 3
#define BREAKPOINT_UNLOAD_SYMBOLS 4
#define DBG_STATUS_CONTROL_C 1
#define FLG_STOP_ON_EXCEPTION 0x1
#define STATUS_PORT_DISCONNECTED ((NTSTATUS)0xC0000037)

BOOLEAN KdDebuggerEnabled = FALSE;
BOOLEAN KdDebuggerNotPresent = TRUE;
BOOLEAN KdPitchDebugger = TRUE;
ULONG KdEnteredDebugger = 0;
UCHAR KdpBreakInRequested = 0;
BREAKPOINT_ENTRY KdpBreakpointTable[32] = {0};
UCHAR KdpDataBlockEncoded = 0;

// The debugger's wish to stop, taken back as it is read.
BOOLEAN KdPollBreakIn(VOID)
{
    return __atomic_exchange_n(&KdpBreakInRequested, 0, __ATOMIC_ACQ_REL) != 0;
}

VOID KdCheckForDebugBreak(VOID)
{
    if (!KdPitchDebugger && KdDebuggerEnabled && KdPollBreakIn())
        DbgBreakPointWithStatus(DBG_STATUS_CONTROL_C);
}

// Looks whether a debugger is there by printing a line to it.
BOOLEAN KdRefreshDebuggerNotPresent(VOID)
{
    static CHAR Line[] = "KDTARGET: Refreshing KD connection\n";
    STRING Text = {sizeof(Line) - 1, sizeof(Line), Line};

    if (KdPitchDebugger)
        return TRUE;
    DebugPrint(&Text, DPFLTR_SYSTEM_ID, DPFLTR_ERROR_LEVEL);
    return KdDebuggerNotPresent;
}

// Whether the debugger wants to see an exception before handlers do. Breakpoints and single steps
// come here only when it has turned them down already: the machine showed them to it.
static BOOLEAN KdpReportsFirstChance(NTSTATUS Code)
{
    switch (Code) {
    case STATUS_BREAKPOINT:
    case STATUS_SINGLE_STEP:
        return FALSE;
    case STATUS_ASSERTION_FAILURE:
        return TRUE;
    default:
        return (NtGlobalFlag & FLG_STOP_ON_EXCEPTION) && !NT_SUCCESS(Code) &&
               Code != STATUS_PORT_DISCONNECTED;
    }
}

// Show an exception to the debugger; TRUE when it dealt with it. Context carries its changes back.
BOOLEAN KdTrap(PKTRAP_FRAME TrapFrame, PKEXCEPTION_FRAME ExceptionFrame, PEXCEPTION_RECORD Record,
               PCONTEXT Context, KPROCESSOR_MODE Mode, BOOLEAN SecondChance)
{
    if (!KdDebuggerEnabled || (!SecondChance && !KdpReportsFirstChance(Record->ExceptionCode)))
        return FALSE;
    return HalpMachineCall(ServiceReportException, (ULONG64)Record, (ULONG64)Context, !SecondChance,
                           0) != 0;
}

static VOID KdpSymbolNotice(PSTRING FileName, PVOID ImageBase, ULONG_PTR ProcessId, ULONG Service)
{
    PKLDR_DATA_TABLE_ENTRY Entry = MiLookupDataTableEntry(ImageBase);
    KD_SYMBOLS_INFO Info = {ImageBase, (PVOID)ProcessId, 0, 0};

    if (!KdDebuggerEnabled)
        return;
    if (Entry) {
        Info.CheckSum = Entry->CheckSum;
        Info.SizeOfImage = Entry->SizeOfImage;
    }
    DebugService2(FileName, &Info, Service);
}

VOID DbgLoadImageSymbols(PSTRING FileName, PVOID ImageBase, ULONG_PTR ProcessId)
{
    KdpSymbolNotice(FileName, ImageBase, ProcessId, BREAKPOINT_LOAD_SYMBOLS);
}

VOID DbgUnLoadImageSymbols(PSTRING FileName, PVOID ImageBase, ULONG_PTR ProcessId)
{
    KdpSymbolNotice(FileName, ImageBase, ProcessId, BREAKPOINT_UNLOAD_SYMBOLS);
}
