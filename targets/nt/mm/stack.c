// Kernel stacks: six pages above an unmapped guard page. Dead stacks are kept for reuse.
#include "mi.h"

#define STACK_SLOT (KERNEL_STACK_SIZE + PAGE_SIZE)

static KSPIN_LOCK MiStackLock = 0;
static PVOID MiDeadStacks = NULL;           // chained through the word below each stack's base
static ULONG64 MiNextStackSlot = 0;

PVOID MmCreateKernelStack(VOID)
{
    KIRQL OldIrql = KeAcquireSpinLockRaiseToDpc(&MiStackLock);
    PUCHAR Base = MiDeadStacks, Slot = NULL;

    if (Base) {
        MiDeadStacks = ((PVOID *)Base)[-1];
    } else if ((MiNextStackSlot + 1) * STACK_SLOT <= KeLoaderBlock->KernelStacks.Size) {
        Slot = (PUCHAR)KeLoaderBlock->KernelStacks.Base + MiNextStackSlot++ * STACK_SLOT;
    }
    KeReleaseSpinLock(&MiStackLock, OldIrql);
    if (Slot) {
        SIZE_T Pages = KERNEL_STACK_SIZE / PAGE_SIZE;

        if (NT_SUCCESS(MiCommitSystemPages(Slot + PAGE_SIZE, Pages, MM_READWRITE)))
            Base = Slot + STACK_SLOT;
    } else if (Base) {
        memset(Base - KERNEL_STACK_SIZE, 0, KERNEL_STACK_SIZE);
    }
    return Base;
}

VOID MmDeleteKernelStack(PVOID StackBase)
{
    KIRQL OldIrql = KeAcquireSpinLockRaiseToDpc(&MiStackLock);

    ((PVOID *)StackBase)[-1] = MiDeadStacks;
    MiDeadStacks = StackBase;
    KeReleaseSpinLock(&MiStackLock, OldIrql);
}
