// Deferred procedure calls.
#include "ki.h"

VOID KeInitializeDpc(PKDPC Dpc, PKDEFERRED_ROUTINE Routine, PVOID Context)
{
    memset(Dpc, 0, sizeof(*Dpc));
    Dpc->Type = DpcObject;
    Dpc->Importance = MediumImportance;
    Dpc->DeferredRoutine = Routine;
    Dpc->DeferredContext = Context;
}

VOID KeSetTargetProcessorDpc(PKDPC Dpc, CCHAR Number)
{
    Dpc->Number = (USHORT)(MAXIMUM_PROCESSORS + Number);
}

VOID KeSetImportanceDpc(PKDPC Dpc, KDPC_IMPORTANCE Importance)
{
    Dpc->Importance = (UCHAR)Importance;
}

static PKPRCB KiDpcTarget(PKDPC Dpc)
{
    return Dpc->Number < MAXIMUM_PROCESSORS ? KeGetCurrentPrcb() :
        KiProcessorBlock[Dpc->Number - MAXIMUM_PROCESSORS];
}

// Queues are touched from interrupt handlers too, hence HIGH_LEVEL.
BOOLEAN KeInsertQueueDpc(PKDPC Dpc, PVOID Argument1, PVOID Argument2)
{
    KIRQL OldIrql = KfRaiseIrql(HIGH_LEVEL);
    PKPRCB Prcb = KiDpcTarget(Dpc);
    PKDPC_DATA Data = &Prcb->DpcData[0];
    BOOLEAN Inserted = FALSE;

    KeAcquireSpinLockAtDpcLevel(&Data->DpcLock);
    if (Dpc->DpcData == NULL) {
        Inserted = TRUE;
        Dpc->DpcData = Data;
        Dpc->SystemArgument1 = Argument1;
        Dpc->SystemArgument2 = Argument2;
        if (Dpc->Importance == HighImportance && Data->DpcList.ListHead.Next) {
            Dpc->DpcListEntry.Next = Data->DpcList.ListHead.Next;
            Data->DpcList.ListHead.Next = &Dpc->DpcListEntry;
        } else {
            Dpc->DpcListEntry.Next = NULL;
            Data->DpcList.LastEntry->Next = &Dpc->DpcListEntry;
            Data->DpcList.LastEntry = &Dpc->DpcListEntry;
        }
        Data->DpcQueueDepth++;
        Data->DpcCount++;
        KiRequest(Prcb, DPC_PRESENT);
    }
    KeReleaseSpinLockFromDpcLevel(&Data->DpcLock);
    if (Inserted && Prcb != KeGetCurrentPrcb())
        KiIpiSend(Prcb->Number);
    KeLowerIrql(OldIrql);
    return Inserted;
}

// At HIGH_LEVEL with the queue's lock.
static VOID KiUnlinkDpc(PKDPC_DATA Data, PSINGLE_LIST_ENTRY Previous, PKDPC Dpc)
{
    Previous->Next = Dpc->DpcListEntry.Next;
    if (Data->DpcList.LastEntry == &Dpc->DpcListEntry)
        Data->DpcList.LastEntry = Previous;
    Dpc->DpcData = NULL;
    Data->DpcQueueDepth--;
}

BOOLEAN KeRemoveQueueDpc(PKDPC Dpc)
{
    KIRQL OldIrql = KfRaiseIrql(HIGH_LEVEL);
    PKDPC_DATA Data = Dpc->DpcData;
    BOOLEAN Removed = FALSE;

    if (Data) {
        KeAcquireSpinLockAtDpcLevel(&Data->DpcLock);
        PSINGLE_LIST_ENTRY Entry = &Data->DpcList.ListHead;

        while (Entry->Next && Entry->Next != &Dpc->DpcListEntry)
            Entry = Entry->Next;
        if (Entry->Next) {
            KiUnlinkDpc(Data, Entry, Dpc);
            Removed = TRUE;
        }
        KeReleaseSpinLockFromDpcLevel(&Data->DpcLock);
    }
    KeLowerIrql(OldIrql);
    return Removed;
}

// The routine may free its own KDPC, so everything is copied out first.
static VOID KiExecuteAllDpcs(PKPRCB Prcb, PKDPC_DATA Data)
{
    while (Data->DpcList.ListHead.Next) {
        PKDEFERRED_ROUTINE Routine;
        PVOID Context, Argument1, Argument2;
        PKDPC Dpc;

        __writecr8(HIGH_LEVEL);
        KeAcquireSpinLockAtDpcLevel(&Data->DpcLock);
        if (Data->DpcList.ListHead.Next == NULL) {
            KeReleaseSpinLockFromDpcLevel(&Data->DpcLock);
            __writecr8(DISPATCH_LEVEL);
            break;
        }
        Dpc = CONTAINING_RECORD(Data->DpcList.ListHead.Next, KDPC, DpcListEntry);
        Routine = Dpc->DeferredRoutine;
        Context = Dpc->DeferredContext;
        Argument1 = Dpc->SystemArgument1;
        Argument2 = Dpc->SystemArgument2;
        KiUnlinkDpc(Data, &Data->DpcList.ListHead, Dpc);
        KeReleaseSpinLockFromDpcLevel(&Data->DpcLock);
        __writecr8(DISPATCH_LEVEL);
        Data->ActiveDpc = Dpc;
        Prcb->CurrentDpcRoutine = Routine;
        Routine(Dpc, Context, Argument1, Argument2);
        Prcb->CurrentDpcRoutine = NULL;
        Data->ActiveDpc = NULL;
    }
}

BOOLEAN KiPendingWork(PKPRCB Prcb)
{
    return (Prcb->DpcRequestSummary & (DPC_PRESENT | DPC_TIMER_EXPIRATION)) || Prcb->QuantumEnd ||
           Prcb->NextThread != NULL;
}

// At DISPATCH_LEVEL on this processor. A DPC that queues another has it run too.
VOID KiRetireDpcList(PKPRCB Prcb)
{
    while (Prcb->DpcRequestSummary & (DPC_PRESENT | DPC_TIMER_EXPIRATION)) {
        Prcb->DpcRoutineActive = TRUE;
        KiRequest(Prcb, DPC_ACTIVE);
        if (Prcb->DpcRequestSummary & DPC_TIMER_EXPIRATION)
            KiTimerExpiration(Prcb);
        KiUnrequest(Prcb, DPC_PRESENT);
        KiExecuteAllDpcs(Prcb, &Prcb->DpcData[0]);
        KiUnrequest(Prcb, DPC_ACTIVE);
        Prcb->DpcRoutineActive = FALSE;
    }
}

static VOID KiFlushDpcRoutine(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
    KeSetEvent(Context, 0, FALSE);
}

// Wait until every DPC queued so far has run, on every processor.
VOID KeFlushQueuedDpcs(VOID)
{
    for (ULONG i = 0; i < KeNumberProcessors; i++) {
        KEVENT Done;
        KDPC Dpc;

        KeInitializeEvent(&Done, NotificationEvent, FALSE);
        KeInitializeDpc(&Dpc, KiFlushDpcRoutine, &Done);
        KeSetTargetProcessorDpc(&Dpc, (CCHAR)i);
        KeInsertQueueDpc(&Dpc, NULL, NULL);
        KeWaitForSingleObject(&Done, Executive, KernelMode, FALSE, NULL);
    }
}
