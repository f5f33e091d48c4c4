// Push locks, exclusive only. Bit 0: locked, bit 1: the rest of the word names a stack of waiters,
// each waiting on an event on its own stack.
#include "ex.h"

#define PUSH_LOCK_LOCKED 1ull
#define PUSH_LOCK_WAITING 2ull
#define PUSH_LOCK_FLAGS 15ull

typedef struct _EX_PUSH_LOCK_WAIT_BLOCK {
    KEVENT WakeEvent;
    struct _EX_PUSH_LOCK_WAIT_BLOCK *Next;
} __attribute__((aligned(16))) EX_PUSH_LOCK_WAIT_BLOCK, *PEX_PUSH_LOCK_WAIT_BLOCK;

static BOOLEAN ExpPushLockExchange(PEX_PUSH_LOCK Lock, ULONG64 Old, ULONG64 New)
{
    return InterlockedCompareExchangePointer(&Lock->Ptr, (PVOID)New, (PVOID)Old) == (PVOID)Old;
}

VOID ExAcquirePushLockExclusive(PEX_PUSH_LOCK Lock)
{
    EX_PUSH_LOCK_WAIT_BLOCK Block;

    for (;;) {
        ULONG64 Value = *(volatile ULONG64 *)&Lock->Value;
        if (!(Value & PUSH_LOCK_LOCKED)) {
            if (ExpPushLockExchange(Lock, Value, Value | PUSH_LOCK_LOCKED))
                return;
            continue;
        }
        KeInitializeEvent(&Block.WakeEvent, SynchronizationEvent, FALSE);
        Block.Next = (PEX_PUSH_LOCK_WAIT_BLOCK)(Value & ~PUSH_LOCK_FLAGS);
        if (ExpPushLockExchange(Lock, Value,
                                (ULONG64)&Block | PUSH_LOCK_LOCKED | PUSH_LOCK_WAITING))
            KeWaitForSingleObject(&Block.WakeEvent, WrPushLock, KernelMode, FALSE, NULL);
    }
}

// Wakes everybody; the first to come takes the lock, the others queue up again.
VOID ExReleasePushLockExclusive(PEX_PUSH_LOCK Lock)
{
    PEX_PUSH_LOCK_WAIT_BLOCK Block =
        (PEX_PUSH_LOCK_WAIT_BLOCK)((ULONG64)InterlockedExchangePointer(&Lock->Ptr, NULL) &
                                   ~PUSH_LOCK_FLAGS);

    while (Block != NULL) {
        PEX_PUSH_LOCK_WAIT_BLOCK Next = Block->Next;
        KeSetEvent(&Block->WakeEvent, IO_NO_INCREMENT, FALSE);
        Block = Next;
    }
}
