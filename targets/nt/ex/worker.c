// Work items: system threads that run other components' routines at PASSIVE_LEVEL. One queue per
// kind, each with threads of its own, so that a critical item never waits for a delayed one.
#include "ex.h"

typedef struct _EX_WORK_QUEUE {
    LIST_ENTRY ItemList;
    KSPIN_LOCK Lock;
    KSEMAPHORE Available;
    ULONG WorkItemsProcessed;
} EX_WORK_QUEUE, *PEX_WORK_QUEUE;

typedef struct _EX_WORK_QUEUE_CLASS {
    ULONG Threads;
    KPRIORITY Priority;
} EX_WORK_QUEUE_CLASS;

#define WORKER_INVALID 0x96
#define WORKER_THREAD_RETURNED_AT_BAD_IRQL 0xE1

static const EX_WORK_QUEUE_CLASS ExpWorkQueueClasses[] = {
    {2, 13},   // CriticalWorkQueue
    {3, 12},   // DelayedWorkQueue
};

EX_WORK_QUEUE ExWorkerQueue[ARRAYSIZE(ExpWorkQueueClasses)];

static PWORK_QUEUE_ITEM ExpRemoveWorkItem(PEX_WORK_QUEUE Queue)
{
    PLIST_ENTRY Entry;
    KIRQL Irql;

    KeWaitForSingleObject(&Queue->Available, WrQueue, KernelMode, FALSE, NULL);
    Irql = KeAcquireSpinLockRaiseToDpc(&Queue->Lock);
    Entry = RemoveHeadList(&Queue->ItemList);
    Queue->WorkItemsProcessed++;
    KeReleaseSpinLock(&Queue->Lock, Irql);
    Entry->Flink = NULL;
    return CONTAINING_RECORD(Entry, WORK_QUEUE_ITEM, List);
}

VOID ExpWorkerThread(PVOID Context)
{
    PEX_WORK_QUEUE Queue = Context;

    KeSetPriorityThread(KeGetCurrentThread(),
                        ExpWorkQueueClasses[Queue - ExWorkerQueue].Priority);
    for (;;) {
        // The routine may free its item: keep what a bug check has to name.
        PWORK_QUEUE_ITEM Item = ExpRemoveWorkItem(Queue);
        WORKER_THREAD_ROUTINE *Routine = Item->WorkerRoutine;
        PVOID Parameter = Item->Parameter;

        Routine(Parameter);
        if (KeGetCurrentIrql() != PASSIVE_LEVEL)
            KeBugCheckEx(WORKER_THREAD_RETURNED_AT_BAD_IRQL, (ULONG_PTR)Routine,
                         KeGetCurrentIrql(), (ULONG_PTR)Parameter, (ULONG_PTR)Item);
    }
}

VOID ExpWorkerInitialization(VOID)
{
    HANDLE Thread;

    for (ULONG i = 0; i < ARRAYSIZE(ExWorkerQueue); i++) {
        PEX_WORK_QUEUE Queue = &ExWorkerQueue[i];
        InitializeListHead(&Queue->ItemList);
        KeInitializeSpinLock(&Queue->Lock);
        KeInitializeSemaphore(&Queue->Available, 0, 0x7FFFFFFF);
        for (ULONG n = 0; n < ExpWorkQueueClasses[i].Threads; n++)
            if (NT_SUCCESS(PsCreateSystemThread(&Thread, THREAD_ALL_ACCESS, NULL, NULL, NULL,
                                                ExpWorkerThread, Queue)))
                ZwClose(Thread);
    }
}

VOID ExQueueWorkItem(PWORK_QUEUE_ITEM Item, ULONG QueueType)
{
    PEX_WORK_QUEUE Queue = &ExWorkerQueue[QueueType < ARRAYSIZE(ExWorkerQueue) ? QueueType : 0];
    KIRQL Irql;

    if (Item->List.Flink != NULL)
        KeBugCheckEx(WORKER_INVALID, 1, (ULONG_PTR)Item, (ULONG_PTR)Queue, 0);
    Irql = KeAcquireSpinLockRaiseToDpc(&Queue->Lock);
    InsertTailList(&Queue->ItemList, &Item->List);
    KeReleaseSpinLock(&Queue->Lock, Irql);
    KeReleaseSemaphore(&Queue->Available, IO_NO_INCREMENT, 1, FALSE);
}
