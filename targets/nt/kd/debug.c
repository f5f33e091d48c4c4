// Talking to the debug port: break-in, exceptions, module notices.
#include "kdp.h"

#define BREAKPOINT_LOAD_SYMBOLS 3
#define BREAKPOINT_UNLOAD_SYMBOLS 4
#define DBG_STATUS_CONTROL_C 1

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

// Show an exception to the debugger; TRUE when it dealt with it. Context carries its changes back.
BOOLEAN KdTrap(PKTRAP_FRAME TrapFrame, PKEXCEPTION_FRAME ExceptionFrame, PEXCEPTION_RECORD Record,
               PCONTEXT Context, KPROCESSOR_MODE Mode, BOOLEAN SecondChance)
{
    if (!KdDebuggerEnabled)
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
