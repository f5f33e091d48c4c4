// Fast mutexes: Count 1 is free; each waiter takes one off. The owner runs at APC_LEVEL.
#include "ex.h"

VOID ExInitializeFastMutex(PFAST_MUTEX Mutex)
{
    memset(Mutex, 0, sizeof(*Mutex));
    Mutex->Count = 1;
    KeInitializeEvent(&Mutex->Event, SynchronizationEvent, FALSE);
}

VOID ExAcquireFastMutex(PFAST_MUTEX Mutex)
{
    KIRQL Irql;

    KeRaiseIrql(APC_LEVEL, &Irql);
    if (InterlockedDecrement(&Mutex->Count) != 0) {
        Mutex->Contention++;
        KeWaitForSingleObject(&Mutex->Event, WrFastMutex, KernelMode, FALSE, NULL);
    }
    Mutex->Owner = KeGetCurrentThread();
    Mutex->OldIrql = Irql;
}

BOOLEAN ExTryToAcquireFastMutex(PFAST_MUTEX Mutex)
{
    KIRQL Irql;

    KeRaiseIrql(APC_LEVEL, &Irql);
    if (InterlockedCompareExchange(&Mutex->Count, 0, 1) != 1) {
        KeLowerIrql(Irql);
        return FALSE;
    }
    Mutex->Owner = KeGetCurrentThread();
    Mutex->OldIrql = Irql;
    return TRUE;
}

VOID ExReleaseFastMutex(PFAST_MUTEX Mutex)
{
    KIRQL Irql = (KIRQL)Mutex->OldIrql;

    Mutex->Owner = NULL;
    if (InterlockedIncrement(&Mutex->Count) <= 0)
        KeSetEvent(&Mutex->Event, IO_NO_INCREMENT, FALSE);
    KeLowerIrql(Irql);
}
