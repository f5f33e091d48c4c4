// The end of the system's life.
#include "ki.h"

#define DBG_STATUS_BUGCHECK_FIRST 3
#define DBG_STATUS_BUGCHECK_SECOND 4
#define IRQL_NOT_LESS_OR_EQUAL 0x0A
#define KMODE_EXCEPTION_NOT_HANDLED 0x1E
#define PAGE_FAULT_IN_NONPAGED_AREA 0x50
#define SYSTEM_THREAD_EXCEPTION_NOT_HANDLED 0x7E
#define DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS 0xCE
#define DRIVER_IRQL_NOT_LESS_OR_EQUAL 0xD1
#define MANUALLY_INITIATED_CRASH 0xE2

VOID KiFreezeExecution(VOID);

ULONG_PTR KiBugCheckData[5] = {0};
ULONG_PTR KiBugCheckOriginalData[5] = {0};
ULONG KiBugCheckActive = 0;
PVOID KiBugCheckDriver = NULL;
UCHAR KiHypervisorInitiatedCrashDump = 0;
LIST_ENTRY KeBugCheckCallbackListHead = {&KeBugCheckCallbackListHead, &KeBugCheckCallbackListHead};
LIST_ENTRY KeBugCheckReasonCallbackListHead = {&KeBugCheckReasonCallbackListHead,
                                               &KeBugCheckReasonCallbackListHead};
LIST_ENTRY KeBugCheckAddRemovePagesCallbackListHead = {&KeBugCheckAddRemovePagesCallbackListHead,
                                                       &KeBugCheckAddRemovePagesCallbackListHead};
LIST_ENTRY KeBugCheckTriageDumpDataArrayListHead = {&KeBugCheckTriageDumpDataArrayListHead,
                                                    &KeBugCheckTriageDumpDataArrayListHead};

// After the second break nothing is left to do: whoever goes on gets it again.
static VOID KiBugCheckDebugBreak(ULONG Status)
{
    do
        DbgBreakPointWithStatus(Status);
    while (Status != DBG_STATUS_BUGCHECK_FIRST);
}

// The code a bug check is about, when one of its parameters says so.
static PVOID KiFaultAddress(ULONG Code, ULONG_PTR P2, ULONG_PTR P3, ULONG_PTR P4)
{
    switch (Code) {
    case IRQL_NOT_LESS_OR_EQUAL:
    case DRIVER_IRQL_NOT_LESS_OR_EQUAL:
        return (PVOID)P4;
    case KMODE_EXCEPTION_NOT_HANDLED:
    case SYSTEM_THREAD_EXCEPTION_NOT_HANDLED:
        return (PVOID)P2;
    case PAGE_FAULT_IN_NONPAGED_AREA:
        return (PVOID)P3;
    default:
        return NULL;
    }
}

// A driver whose code faulted is to blame, unless the caller has named another.
static PKLDR_DATA_TABLE_ENTRY KiFindFaultingDriver(PVOID Address)
{
    PKLDR_DATA_TABLE_ENTRY Entry = Address ? MiLookupDataTableEntry(Address) : NULL;

    if (Entry == NULL || Entry->DllBase == PsNtosImageBase)
        return NULL;
    if (KiBugCheckDriver == NULL)
        KiBugCheckDriver = &Entry->BaseDllName;
    return Entry;
}

// What the blame makes of the code.
static ULONG KiRefineCode(ULONG Code, PVOID Address, PKLDR_DATA_TABLE_ENTRY Driver)
{
    if (Code == IRQL_NOT_LESS_OR_EQUAL && Driver)
        return DRIVER_IRQL_NOT_LESS_OR_EQUAL;
    if (Code == PAGE_FAULT_IN_NONPAGED_AREA && MiLookupDataTableEntry(Address) == NULL) {
        PUNICODE_STRING Unloaded = MmLocateUnloadedDriver(Address);

        if (Unloaded) {
            KiBugCheckDriver = Unloaded;
            return DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS;
        }
    }
    return Code;
}

static VOID KiPrintBugCheck(PKLDR_DATA_TABLE_ENTRY Entry, PVOID Address)
{
    KdRefreshDebuggerNotPresent();
    DbgPrintEx(DPFLTR_SYSTEM_ID, DPFLTR_ERROR_LEVEL,
               "\n*** Fatal System Error: 0x%08lx\n"
               "                       (0x%p,0x%p,0x%p,0x%p)\n\n",
               (ULONG)KiBugCheckData[0], (PVOID)KiBugCheckData[1], (PVOID)KiBugCheckData[2],
               (PVOID)KiBugCheckData[3], (PVOID)KiBugCheckData[4]);
    if (Entry)
        DbgPrintEx(DPFLTR_SYSTEM_ID, DPFLTR_ERROR_LEVEL,
                   "Driver at fault: \n***   %wZ - Address %p base at %p, DateStamp %08lx\n.\n",
                   &Entry->BaseDllName, Address, Entry->DllBase, Entry->TimeDateStamp);
    else if (KiBugCheckDriver)
        DbgPrintEx(DPFLTR_SYSTEM_ID, DPFLTR_ERROR_LEVEL, "Driver at fault: %wZ.\n",
                   (PUNICODE_STRING)KiBugCheckDriver);
}

// Bug checks once. No callback can be registered yet and no dump is written, so the second break
// follows the first; a debugger that asked for the crash itself has only the second. Another processor
// that gets here only stops, the owner of the bug check comes to the second break.
DECLSPEC_NORETURN VOID KeBugCheck2(ULONG Code, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3,
                                   ULONG_PTR P4, PKTRAP_FRAME TrapFrame)
{
    static volatile LONG Owner = -1;
    LONG Number = (LONG)KeGetCurrentPrcb()->Number;

    if (InterlockedExchange((volatile LONG *)&KiBugCheckActive, 1) == 0) {
        PVOID Address = KiFaultAddress(Code, P2, P3, P4);
        PKLDR_DATA_TABLE_ENTRY Driver = KiFindFaultingDriver(Address);

        Code = KiRefineCode(Code, Address, Driver);
        Owner = Number;
        KiBugCheckData[0] = Code;
        KiBugCheckData[1] = P1;
        KiBugCheckData[2] = P2;
        KiBugCheckData[3] = P3;
        KiBugCheckData[4] = P4;
        memcpy(KiBugCheckOriginalData, KiBugCheckData, sizeof(KiBugCheckData));
        KeUpdateSystemTime();
        KiFreezeExecution();
        if (KdDebuggerEnabled) {
            KiPrintBugCheck(Driver, Address);
            if (Code != MANUALLY_INITIATED_CRASH)
                KiBugCheckDebugBreak(DBG_STATUS_BUGCHECK_FIRST);
        }
    }
    if (KdDebuggerEnabled && Owner == Number)
        KiBugCheckDebugBreak(DBG_STATUS_BUGCHECK_SECOND);
    for (;;) {                              // a debugger can still break in: the clock gets through
        __writecr8(SYNCH_LEVEL);
        HalProcessorIdle();
    }
}

DECLSPEC_NORETURN VOID KeBugCheckEx(ULONG Code, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3,
                                    ULONG_PTR P4)
{
    PKPRCB Prcb;

    _disable();
    Prcb = KeGetCurrentPrcb();
    RtlCaptureContext(Prcb->Context);
    KiSaveProcessorControlState(&Prcb->ProcessorState);
    memcpy(&Prcb->ProcessorState.ContextFrame, Prcb->Context, sizeof(CONTEXT));
    Prcb->DebuggerSavedIRQL = (UCHAR)__readcr8();
    __writecr8(HIGH_LEVEL);
    _enable();
    KeBugCheck2(Code, P1, P2, P3, P4, NULL);
}

DECLSPEC_NORETURN VOID KeBugCheck(ULONG Code)
{
    KeBugCheckEx(Code, 0, 0, 0, 0);
}

// Every import that no module exports leads here.
DECLSPEC_NORETURN VOID KdsimMissingImport(VOID)
{
    KeBugCheckEx(0x1E, (ULONG_PTR)STATUS_DRIVER_ENTRYPOINT_NOT_FOUND,
                 (ULONG_PTR)__builtin_return_address(0), 0, 0);
}
