// Waiting for dispatcher objects, and being woken.
#include "ki.h"

// Would the thread's wait for this object succeed now?
static BOOLEAN KiIsSignaled(PDISPATCHER_HEADER Object, PKTHREAD Thread)
{
    if (Object->Type == MutantObject)
        return Object->SignalState > 0 || ((PKMUTANT)Object)->OwnerThread == Thread;
    return Object->SignalState > 0;
}

// What a satisfied wait does to the object.
static NTSTATUS KiWaitSatisfy(PDISPATCHER_HEADER Object, PKTHREAD Thread)
{
    PKMUTANT Mutant = (PKMUTANT)Object;

    switch (Object->Type) {
    case EventSynchronizationObject:
    case TimerSynchronizationObject:
        Object->SignalState = 0;
        break;
    case SemaphoreObject:
    case PriQueueObject:
        Object->SignalState--;
        break;
    case MutantObject:
        if (--Object->SignalState == 0) {
            Mutant->OwnerThread = Thread;
            Thread->KernelApcDisable -= Mutant->ApcDisable;
            InsertHeadList(&Thread->MutantListHead, &Mutant->MutantListEntry);
            if (Mutant->Abandoned) {
                Mutant->Abandoned = 0;
                return STATUS_ABANDONED_WAIT_0;
            }
        }
        break;
    default:                                // notification objects stay signaled
        break;
    }
    return STATUS_WAIT_0;
}

// All objects of a WaitAll are signaled.
static BOOLEAN KiAllSignaled(PKTHREAD Thread, PKWAIT_BLOCK Blocks, ULONG Count)
{
    for (ULONG i = 0; i < Count; i++)
        if (!KiIsSignaled((PDISPATCHER_HEADER)Blocks[i].Object, Thread))
            return FALSE;
    return TRUE;
}

static VOID KiUnlinkWait(PKTHREAD Thread)
{
    for (ULONG i = 0; i < Thread->WaitBlockCount; i++) {
        PKWAIT_BLOCK Block = &Thread->WaitBlockList[i];

        if (Block->BlockState == WaitBlockActive)
            RemoveEntryList(&Block->WaitListEntry);
        Block->BlockState = WaitBlockInactive;
    }
    if (Thread->TimerActive) {
        if (Thread->WaitBlock[TIMER_WAIT_BLOCK].BlockState == WaitBlockActive)
            RemoveEntryList(&Thread->WaitBlock[TIMER_WAIT_BLOCK].WaitListEntry);
        Thread->WaitBlock[TIMER_WAIT_BLOCK].BlockState = WaitBlockInactive;
        KiRemoveTimer(&Thread->Timer);
        Thread->TimerActive = 0;
    }
    Thread->WaitBlockCount = 0;
}

VOID KiUnwaitThread(PKTHREAD Thread, NTSTATUS Status)
{
    KiUnlinkWait(Thread);
    Thread->WaitStatus = Status;
    KiReadyThread(Thread);
}

// The object became signaled: wake whom it satisfies.
VOID KiWaitTest(PDISPATCHER_HEADER Object)
{
    PLIST_ENTRY Head = &Object->WaitListHead, Entry = Head->Flink;

    while (Entry != Head && Object->SignalState > 0) {
        PKWAIT_BLOCK Block = CONTAINING_RECORD(Entry, KWAIT_BLOCK, WaitListEntry);
        PKTHREAD Thread = Block->Thread;
        NTSTATUS Status = Block->WaitKey;

        Entry = Entry->Flink;
        if (Block->WaitType == WaitAll) {
            if (!KiAllSignaled(Thread, Thread->WaitBlockList, Thread->WaitBlockCount))
                continue;
            for (ULONG i = 0; i < Thread->WaitBlockCount; i++)
                Status = KiWaitSatisfy(Thread->WaitBlockList[i].Object, Thread);
        } else {
            Status |= KiWaitSatisfy(Object, Thread);
        }
        KiUnwaitThread(Thread, Status);
        Entry = Head->Flink;                // the thread's other blocks may have stood here too
    }
}

static VOID KiLinkWaitBlock(PKTHREAD Thread, PKWAIT_BLOCK Block, PVOID Object, WAIT_TYPE Type,
                            USHORT Key)
{
    Block->Thread = Thread;
    Block->Object = Object;
    Block->WaitType = (UCHAR)Type;
    Block->WaitKey = Key;
    Block->BlockState = WaitBlockActive;
    InsertTailList(&((PDISPATCHER_HEADER)Object)->WaitListHead, &Block->WaitListEntry);
}

// Sleep until woken. Called with the dispatcher lock; returns without it, at WaitIrql.
NTSTATUS KiCommitThreadWait(PKTHREAD Thread, KIRQL WaitIrql, PLARGE_INTEGER Timeout)
{
    NTSTATUS Status;

    if (Timeout) {
        if (!KiInsertTimer(&Thread->Timer, *Timeout)) {          // already due
            KiUnlinkWait(Thread);
            KiExitDispatcher(WaitIrql);
            return STATUS_TIMEOUT;
        }
        Thread->TimerActive = 1;
        KiLinkWaitBlock(Thread, &Thread->WaitBlock[TIMER_WAIT_BLOCK], &Thread->Timer, WaitAny,
                        (USHORT)STATUS_TIMEOUT);
    }
    Thread->WaitIrql = WaitIrql;
    Thread->WaitTime = (ULONG)SHARED_USER_DATA->TickCountQuad;
    Thread->State = Waiting;
    Status = KiSwapThread(Thread);
    KiExitDispatcher(WaitIrql);
    return Status;
}

static VOID KiBeginWait(PKTHREAD Thread, KWAIT_REASON Reason, KPROCESSOR_MODE Mode,
                        BOOLEAN Alertable, PKWAIT_BLOCK Blocks, ULONG Count)
{
    Thread->WaitBlockList = Blocks;
    Thread->WaitBlockCount = (UCHAR)Count;
    Thread->WaitReason = (UCHAR)Reason;
    Thread->WaitMode = Mode;
    Thread->Alertable = Alertable;
    Thread->WaitStatus = STATUS_WAIT_0;
}

// A timeout of zero asks without waiting.
static BOOLEAN KiIsPoll(PLARGE_INTEGER Timeout)
{
    return Timeout && Timeout->QuadPart == 0;
}

NTSTATUS KeWaitForSingleObject(PVOID Object, KWAIT_REASON Reason, KPROCESSOR_MODE Mode,
                               BOOLEAN Alertable, PLARGE_INTEGER Timeout)
{
    PKTHREAD Thread = KeGetCurrentThread();
    KIRQL OldIrql = KiAcquireDispatcherLock();
    NTSTATUS Status = STATUS_TIMEOUT;

    if (KiIsSignaled(Object, Thread)) {
        Status = KiWaitSatisfy(Object, Thread);
    } else if (!KiIsPoll(Timeout)) {
        KiBeginWait(Thread, Reason, Mode, Alertable, Thread->WaitBlock, 1);
        KiLinkWaitBlock(Thread, &Thread->WaitBlock[0], Object, WaitAny, STATUS_WAIT_0);
        return KiCommitThreadWait(Thread, OldIrql, Timeout);
    }
    KiExitDispatcher(OldIrql);
    return Status;
}

NTSTATUS KeWaitForMultipleObjects(ULONG Count, PVOID Objects[], WAIT_TYPE Type, KWAIT_REASON Reason,
                                  KPROCESSOR_MODE Mode, BOOLEAN Alertable, PLARGE_INTEGER Timeout,
                                  PKWAIT_BLOCK WaitBlocks)
{
    PKTHREAD Thread = KeGetCurrentThread();
    PKWAIT_BLOCK Blocks = WaitBlocks ? WaitBlocks : Thread->WaitBlock;
    NTSTATUS Status = STATUS_TIMEOUT;
    KIRQL OldIrql;

    if (Count == 0 || (WaitBlocks == NULL && Count > THREAD_WAIT_OBJECTS) || Count > 64)
        KeBugCheckEx(0x0C, 0, 0, 0, 0);     // MAXIMUM_WAIT_OBJECTS_EXCEEDED
    OldIrql = KiAcquireDispatcherLock();
    for (ULONG i = 0; i < Count; i++)
        Blocks[i].Object = Objects[i];
    if (Type == WaitAny) {
        for (ULONG i = 0; i < Count; i++)
            if (KiIsSignaled(Objects[i], Thread)) {
                Status = KiWaitSatisfy(Objects[i], Thread) | (NTSTATUS)i;
                KiExitDispatcher(OldIrql);
                return Status;
            }
    } else if (KiAllSignaled(Thread, Blocks, Count)) {
        for (ULONG i = 0; i < Count; i++)
            Status = KiWaitSatisfy(Objects[i], Thread);
        KiExitDispatcher(OldIrql);
        return Status;
    }
    if (KiIsPoll(Timeout)) {
        KiExitDispatcher(OldIrql);
        return Status;
    }
    KiBeginWait(Thread, Reason, Mode, Alertable, Blocks, Count);
    for (ULONG i = 0; i < Count; i++)
        KiLinkWaitBlock(Thread, &Blocks[i], Objects[i], Type, (USHORT)(Type == WaitAny ? i : 0));
    return KiCommitThreadWait(Thread, OldIrql, Timeout);
}

// An interval of zero gives the rest of the quantum away.
NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE Mode, BOOLEAN Alertable, PLARGE_INTEGER Interval)
{
    PKTHREAD Thread = KeGetCurrentThread();
    KIRQL OldIrql = KiAcquireDispatcherLock();

    if (Interval->QuadPart == 0) {
        KeGetCurrentPrcb()->QuantumEnd = TRUE;
        KiExitDispatcher(OldIrql);
        return STATUS_SUCCESS;
    }
    KiBeginWait(Thread, DelayExecution, Mode, Alertable, &Thread->WaitBlock[TIMER_WAIT_BLOCK], 1);
    KiCommitThreadWait(Thread, OldIrql, Interval);
    return STATUS_SUCCESS;
}
