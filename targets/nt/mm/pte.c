// System address space: committing, protecting and releasing pages.
#include "mi.h"

ULONG64 MmPteBase = 0;

PMMPTE MiGetPteAddress(PVOID VirtualAddress)
{
    return (PMMPTE)MiPteOf((ULONG64)VirtualAddress);
}

ULONG64 MiMakeProtectionPte(ULONG Protection)
{
    ULONG64 Pte = PTE_VALID | PTE_ACCESSED;

    if (Protection & MM_READWRITE)
        Pte |= PTE_DIRTY1 | PTE_DIRTY | PTE_WRITE;
    if (!(Protection & MM_EXECUTE))
        Pte |= PTE_NX;
    return Pte;
}

// Whether the address is mapped, looked at level by level so that the look itself cannot fault.
static BOOLEAN MiIsTableValid(ULONG64 Address)
{
    ULONG64 Pde = (ULONG64)MiPteOf((ULONG64)MiPteOf(Address));
    ULONG64 Ppe = (ULONG64)MiPteOf(Pde), Pxe = (ULONG64)MiPteOf(Ppe);

    return (*(PULONG64)Pxe & PTE_VALID) && (*(PULONG64)Ppe & PTE_VALID) &&
           (*(PULONG64)Pde & PTE_VALID);
}

BOOLEAN MmIsAddressValid(PVOID Address)
{
    LONG64 Sign = (LONG64)Address >> 47;

    return (Sign == 0 || Sign == -1) && MiIsTableValid((ULONG64)Address) &&
           (*MiPteOf((ULONG64)Address) & PTE_VALID);
}

LARGE_INTEGER MmGetPhysicalAddress(PVOID Address)
{
    LARGE_INTEGER Physical = {0};

    if (MmIsAddressValid(Address))
        Physical.QuadPart =
            (LONGLONG)(PTE_FRAME(*MiPteOf((ULONG64)Address)) << PAGE_SHIFT | BYTE_OFFSET(Address));
    return Physical;
}

// Give one entry a page. New memory is zero.
BOOLEAN MiFillPte(PULONG64 Pte, PVOID Target, ULONG64 Bits)
{
    BOOLEAN Zeroed;
    PFN_NUMBER Page = MiRemoveAnyPage(&Zeroed);

    if (Page == MM_PFN_NONE)
        return FALSE;
    *Pte = Page << PAGE_SHIFT | Bits;
    MiInitializePfn(Page, Pte);
    if (!Zeroed) {
        *Pte |= PTE_DIRTY1;
        memset(Target, 0, PAGE_SIZE);
        *Pte = Page << PAGE_SHIFT | Bits;
        __invlpg(Target);
    }
    return TRUE;
}

// The three levels of tables above the address's entry, in the current address space.
BOOLEAN MiMakePageTablesValid(ULONG64 Address)
{
    ULONG64 Pte = (ULONG64)MiPteOf(Address), Pde = (ULONG64)MiPteOf(Pte);
    ULONG64 Ppe = (ULONG64)MiPteOf(Pde), Pxe = (ULONG64)MiPteOf(Ppe);
    ULONG64 Levels[] = {Pxe, Ppe, Pde}, Tables[] = {Ppe, Pde, Pte};
    BOOLEAN User = Address < MmUserProbeAddress;

    for (ULONG i = 0; i < ARRAYSIZE(Levels); i++)
        if (!(*(PULONG64)Levels[i] & PTE_VALID)) {
            if (!MiFillPte((PULONG64)Levels[i], PAGE_ALIGN(Tables[i]),
                           User ? PTE_TABLE | PTE_OWNER : PTE_TABLE))
                return FALSE;
            MiState.Vs.SystemPageTableCommit += !User;
        }
    return TRUE;
}

// The pools' use of memory, as !vm shows it.
static VOID MiChargePool(PVOID VirtualAddress, LONG64 Pages)
{
    PKDSIM_LOADER_BLOCK Block = KeLoaderBlock;

    if ((ULONG64)VirtualAddress - Block->NonPagedPool.Base < Block->NonPagedPool.Size)
        InterlockedExchangeAdd64((LONG64 *)&MiState.Pools.AllocatedNonPagedPool, Pages);
    else if ((ULONG64)VirtualAddress - Block->PagedPool.Base < Block->PagedPool.Size)
        InterlockedExchangeAdd64((LONG64 *)&MiState.Vs.PagedPoolInfo.AllocatedPagedPool, Pages);
}

NTSTATUS MiCommitSystemPages(PVOID VirtualAddress, SIZE_T Pages, ULONG Protection)
{
    ULONG64 Address = (ULONG64)VirtualAddress, Bits = MiMakeProtectionPte(Protection);
    KIRQL OldIrql = KeAcquireSpinLockRaiseToDpc(&MiState.SystemVa.SystemVaLock);
    SIZE_T Done = 0;

    while (Done < Pages && MiMakePageTablesValid(Address) &&
           MiFillPte(MiPteOf(Address), (PVOID)Address, Bits)) {
        Address += PAGE_SIZE;
        Done++;
    }
    MiChargePool(VirtualAddress, (LONG64)Done);
    KeReleaseSpinLock(&MiState.SystemVa.SystemVaLock, OldIrql);
    if (Done == Pages)
        return STATUS_SUCCESS;
    MiDecommitSystemPages(VirtualAddress, Done);
    return STATUS_INSUFFICIENT_RESOURCES;
}

// Every processor forgets the translations before a page can serve someone else.
VOID MiDecommitSystemPages(PVOID VirtualAddress, SIZE_T Pages)
{
    ULONG64 Address = (ULONG64)VirtualAddress;

    for (SIZE_T i = 0; i < Pages; i++)
        *MiPteOf(Address + i * PAGE_SIZE) &= ~PTE_VALID;
    KeFlushTb(VirtualAddress, Pages);
    MiChargePool(VirtualAddress, -(LONG64)Pages);
    for (SIZE_T i = 0; i < Pages; i++) {
        PULONG64 Pte = MiPteOf(Address + i * PAGE_SIZE);

        MiInsertPageInFreeList(PTE_FRAME(*Pte));
        *Pte = 0;
    }
}

NTSTATUS MmSetPageProtection(PVOID VirtualAddress, SIZE_T Bytes, ULONG Protection)
{
    ULONG64 Address = (ULONG64)PAGE_ALIGN(VirtualAddress);
    SIZE_T Pages = BYTES_TO_PAGES(BYTE_OFFSET(VirtualAddress) + Bytes);

    for (SIZE_T i = 0; i < Pages; i++) {
        PULONG64 Pte = MiPteOf(Address + i * PAGE_SIZE);

        if (!MmIsAddressValid((PVOID)(Address + i * PAGE_SIZE)))
            return STATUS_INVALID_PARAMETER;
        *Pte = (*Pte & 0xFFFFFFFFF000ULL) | MiMakeProtectionPte(Protection);
    }
    KeFlushTb((PVOID)Address, Pages);
    return STATUS_SUCCESS;
}

// One window onto any page, held at DISPATCH_LEVEL.
static KSPIN_LOCK MiHyperSpaceLock = 0;
#define MiHyperSpaceWindow (KeLoaderBlock->SystemPtes.Base)

PVOID MiMapPageInHyperSpace(PFN_NUMBER Page, PKIRQL OldIrql)
{
    *OldIrql = KeAcquireSpinLockRaiseToDpc(&MiHyperSpaceLock);
    MiMakePageTablesValid(MiHyperSpaceWindow);
    *MiPteOf(MiHyperSpaceWindow) = Page << PAGE_SHIFT | MiMakeProtectionPte(MM_READWRITE);
    __invlpg((PVOID)MiHyperSpaceWindow);
    return (PVOID)MiHyperSpaceWindow;
}

VOID MiUnmapPageInHyperSpace(KIRQL OldIrql)
{
    *MiPteOf(MiHyperSpaceWindow) = 0;
    __invlpg((PVOID)MiHyperSpaceWindow);
    KeReleaseSpinLock(&MiHyperSpaceLock, OldIrql);
}

// A process's PML4: an empty user half, the kernel's half shared, its own self-map entry.
ULONG64 MmCreateProcessAddressSpace(VOID)
{
    ULONG SelfMap = (ULONG)(MmPteBase >> 39 & 0x1FF);
    PULONG64 System = MiPteOf((ULONG64)MiPteOf((ULONG64)MiPteOf((ULONG64)MiPteOf(0))));
    BOOLEAN Zeroed;
    PFN_NUMBER Page = MiRemoveAnyPage(&Zeroed);
    PULONG64 Table;
    KIRQL OldIrql;

    if (Page == MM_PFN_NONE)
        return 0;
    Table = MiMapPageInHyperSpace(Page, &OldIrql);
    memset(Table, 0, PAGE_SIZE / 2);
    memcpy(Table + 256, System + 256, PAGE_SIZE / 2);
    Table[SelfMap] = Page << PAGE_SHIFT | PTE_TABLE | PTE_NX;
    MiUnmapPageInHyperSpace(OldIrql);
    MiInitializePfn(Page, System + SelfMap);
    MmPfnDatabase[Page].u4.PteFrame = Page;
    return Page << PAGE_SHIFT;
}
