// Page faults. Kernel memory is always resident here, so none can be resolved yet.
#include "mi.h"

#define PAGE_FAULT_IN_NONPAGED_AREA 0x50
#define STATUS_IN_PAGE_ERROR_HIGH_IRQL ((NTSTATUS)0xD0000006)   // KiPageFault: bug check 0xA

static DECLSPEC_NORETURN VOID MiSystemFault(ULONG64 FaultCode, PVOID Address, PKTRAP_FRAME TrapFrame)
{
    // Parameter 2 keeps the hardware's bits: 2 write, 0x10 execute.
    KeBugCheckEx(PAGE_FAULT_IN_NONPAGED_AREA, (ULONG_PTR)Address, FaultCode & 0x12, TrapFrame->Rip,
                 2);
}

NTSTATUS MmAccessFault(ULONG64 FaultCode, PVOID Address, KPROCESSOR_MODE Mode,
                       PKTRAP_FRAME TrapFrame)
{
    KeGetCurrentPrcb()->MmPageFaultCount++;
    if (TrapFrame->PreviousIrql >= DISPATCH_LEVEL)
        return STATUS_IN_PAGE_ERROR_HIGH_IRQL;
    if ((LONG64)Address < 0 && Mode == KernelMode)
        MiSystemFault(FaultCode, Address, TrapFrame);
    return STATUS_ACCESS_VIOLATION;
}
