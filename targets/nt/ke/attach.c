// A thread in another process's address space.
#include "ki.h"

// KAPC_STATE overlaps other fields behind its own ones: copied field by field. No APCs are queued
// in this kernel, so the lists that move are empty.
static VOID KiMoveApcState(PKAPC_STATE From, PKAPC_STATE To)
{
    InitializeListHead(&To->ApcListHead[KernelMode]);
    InitializeListHead(&To->ApcListHead[UserMode]);
    To->Process = From->Process;
    To->InProgressFlags = From->InProgressFlags;
    To->KernelApcPending = From->KernelApcPending;
    To->UserApcPendingAll = From->UserApcPendingAll;
}

static VOID KiSwapProcess(PKTHREAD Thread, PKPROCESS Process, UCHAR ApcStateIndex)
{
    Thread->ApcState.Process = Process;
    Thread->ApcStateIndex = ApcStateIndex;
    __writecr3(Process->DirectoryTableBase);
}

// One level: who is attached already cannot attach again.
VOID KeStackAttachProcess(PKPROCESS Process, PKAPC_STATE ApcState)
{
    PKTHREAD Thread = KeGetCurrentThread();
    KIRQL OldIrql;

    if (Thread->ApcStateIndex != 0)
        KeBugCheckEx(0x05, (ULONG_PTR)Process, (ULONG_PTR)Thread->ApcState.Process,
                     Thread->ApcStateIndex, 0);         // INVALID_PROCESS_ATTACH_ATTEMPT
    OldIrql = KiAcquireDispatcherLock();
    KiMoveApcState(&Thread->ApcState, ApcState);
    KiSwapProcess(Thread, Process, 1);
    KiExitDispatcher(OldIrql);
}

VOID KeUnstackDetachProcess(PKAPC_STATE ApcState)
{
    PKTHREAD Thread = KeGetCurrentThread();
    KIRQL OldIrql = KiAcquireDispatcherLock();

    KiSwapProcess(Thread, ApcState->Process, 0);
    KiExitDispatcher(OldIrql);
}
