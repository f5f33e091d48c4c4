// Interrupt objects: they connect a vector's gate to the routines that serve its devices.
#include "ki.h"

#define INTERRUPT_TAG 'tnIK'       // "KInt"
#define TRAP_CAUSE_UNKNOWN 0x12

VOID KiIsrThunk(VOID);             // trap.S: one entry of eight bytes per vector
VOID KiUnexpectedInterrupt(VOID);
VOID KiInterruptDispatchNoLockNoEtw(VOID);

#define KiThunkOf(Vector) ((PVOID)((ULONG64)KiIsrThunk + 8 * (Vector)))

static KINTERRUPT KiClockInterruptObject;
static KSPIN_LOCK KiInterruptLock = 0;

static VOID KeInitializeInterrupt(PKINTERRUPT Interrupt, KSERVICE_ROUTINE *ServiceRoutine,
                                  PVOID ServiceContext, ULONG Vector, KIRQL Irql)
{
    memset(Interrupt, 0, sizeof(*Interrupt));
    Interrupt->Type = InterruptObject;
    Interrupt->Size = sizeof(*Interrupt);
    InitializeListHead(&Interrupt->InterruptListEntry);
    Interrupt->ServiceRoutine = ServiceRoutine;
    Interrupt->ServiceContext = ServiceContext;
    Interrupt->ActualLock = &Interrupt->SpinLock;
    Interrupt->DispatchAddress = KiThunkOf(Vector);
    Interrupt->Vector = Vector;
    Interrupt->Irql = Interrupt->SynchronizeIrql = Irql;
}

// The clock's gate leads to its handler directly; its object is there for those who look it up.
VOID KiConnectClockInterrupt(PKPRCB Prcb)
{
    KeInitializeInterrupt(&KiClockInterruptObject, HalpTimerClockInterrupt, NULL, CLOCK_VECTOR,
                          CLOCK_LEVEL);
    KiClockInterruptObject.DispatchAddress = (PVOID)KiInterruptDispatchNoLockNoEtw;
    KiClockInterruptObject.Connected = TRUE;
    Prcb->InterruptObject[CLOCK_VECTOR] = &KiClockInterruptObject;
}

static VOID KiSetVector(ULONG Vector, VOID (*Handler)(VOID), PKINTERRUPT First)
{
    for (ULONG i = 0; i < KeNumberProcessors; i++) {
        PKPCR Pcr = CONTAINING_RECORD(KiProcessorBlock[i], KPCR, Prcb);

        KiProcessorBlock[i]->InterruptObject[Vector] = First;
        KiSetGate(&Pcr->IdtBase[Vector], Handler, 0, 0);
    }
}

static BOOLEAN KeConnectInterrupt(PKINTERRUPT Interrupt)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&KiInterruptLock);
    PKINTERRUPT First = KeGetCurrentPrcb()->InterruptObject[Interrupt->Vector];
    BOOLEAN Connected = First == NULL || (First->ShareVector && Interrupt->ShareVector);

    if (Connected && First != NULL)
        InsertTailList(&First->InterruptListEntry, &Interrupt->InterruptListEntry);
    else if (Connected)
        KiSetVector(Interrupt->Vector, KiThunkOf(Interrupt->Vector), Interrupt);
    Interrupt->Connected = Connected;
    KeReleaseSpinLock(&KiInterruptLock, Irql);
    return Connected;
}

NTSTATUS IoConnectInterrupt(PKINTERRUPT *NewInterrupt, KSERVICE_ROUTINE *ServiceRoutine,
                            PVOID ServiceContext, PKSPIN_LOCK SpinLock, ULONG Vector, KIRQL Irql,
                            KIRQL SynchronizeIrql, KINTERRUPT_MODE Mode, BOOLEAN ShareVector,
                            KAFFINITY Affinity, BOOLEAN FloatingSave)
{
    PKINTERRUPT Interrupt =
        ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Interrupt), INTERRUPT_TAG);

    UNREFERENCED_PARAMETER(Affinity);
    if (Interrupt == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    KeInitializeInterrupt(Interrupt, ServiceRoutine, ServiceContext, Vector, Irql);
    Interrupt->SynchronizeIrql = SynchronizeIrql;
    Interrupt->Mode = Mode;
    Interrupt->ShareVector = ShareVector;
    Interrupt->FloatingSave = FloatingSave;
    if (SpinLock != NULL)
        Interrupt->ActualLock = SpinLock;
    if (!KeConnectInterrupt(Interrupt)) {
        ExFreePoolWithTag(Interrupt, INTERRUPT_TAG);
        return STATUS_INVALID_PARAMETER;
    }
    *NewInterrupt = Interrupt;
    return STATUS_SUCCESS;
}

VOID IoDisconnectInterrupt(PKINTERRUPT Interrupt)
{
    KIRQL Irql = KeAcquireSpinLockRaiseToDpc(&KiInterruptLock);
    PKINTERRUPT Next =
        CONTAINING_RECORD(Interrupt->InterruptListEntry.Flink, KINTERRUPT, InterruptListEntry);

    RemoveEntryList(&Interrupt->InterruptListEntry);
    if (Next == Interrupt)
        KiSetVector(Interrupt->Vector, KiUnexpectedInterrupt, NULL);
    else if (KeGetCurrentPrcb()->InterruptObject[Interrupt->Vector] == Interrupt)
        KiSetVector(Interrupt->Vector, KiThunkOf(Interrupt->Vector), Next);
    KeReleaseSpinLock(&KiInterruptLock, Irql);
    ExFreePoolWithTag(Interrupt, INTERRUPT_TAG);
}

// From KiIsrLinkage, interrupts off. The thunk has pushed the vector as the error code.
VOID KiInterruptDispatch(PKTRAP_FRAME TrapFrame)
{
    PKPRCB Prcb = KeGetCurrentPrcb();
    ULONG Vector = (UCHAR)TrapFrame->ErrorCode;
    PKINTERRUPT First = Prcb->InterruptObject[Vector], Interrupt = First;

    if (First == NULL)
        KeBugCheckEx(TRAP_CAUSE_UNKNOWN, 0, Vector, 0, 0);
    __writecr8(First->Irql);
    Prcb->NestingLevel++;
    Prcb->InterruptCount++;
    _enable();
    do {
        KeAcquireSpinLockAtDpcLevel(Interrupt->ActualLock);
        Interrupt->DispatchCount++;
        Interrupt->ServiceCount += Interrupt->ServiceRoutine(Interrupt, Interrupt->ServiceContext);
        KeReleaseSpinLockFromDpcLevel(Interrupt->ActualLock);
        Interrupt =
            CONTAINING_RECORD(Interrupt->InterruptListEntry.Flink, KINTERRUPT, InterruptListEntry);
    } while (Interrupt != First);
    _disable();
    Prcb->NestingLevel--;
    KiExitInterrupt(TrapFrame);
}
