// The memory manager's own declarations.
#pragma once
#include "ntos.h"

#define PTE_VALID 0x001ULL
#define PTE_DIRTY1 0x002ULL                 // the hardware's write bit
#define PTE_OWNER 0x004ULL                  // user mode may use it
#define PTE_ACCESSED 0x020ULL
#define PTE_DIRTY 0x040ULL
#define PTE_WRITE 0x800ULL                  // software: the page may be written
#define PTE_NX 0x8000000000000000ULL
#define PTE_TABLE 0x863ULL                  // a page-table entry for a page table
#define PTE_FRAME(pte) ((pte) >> 12 & 0xFFFFFFFFFULL)
#define MM_PFN_NONE 0xFFFFFFFFFULL          // ends a page list
#define MM_SHARED_USER_DATA_VA 0x7FFE0000ULL

extern KSPIN_LOCK MiPfnLock;
extern BOOLEAN MiPfnDatabaseReady;

// Page tables through the self-map: the entry that maps the given address, one level up each time.
FORCEINLINE PULONG64 MiPteOf(ULONG64 Address)
{
    return (PULONG64)(MmPteBase + (Address >> 9 & 0x7FFFFFFFF8ULL));
}

PFN_NUMBER MiRemoveAnyPage(BOOLEAN *Zeroed);          // MM_PFN_NONE when there is none
VOID MiInsertPageInFreeList(PFN_NUMBER Page);
VOID MiInitializePfn(PFN_NUMBER Page, PULONG64 Pte);
VOID MiInitializePfnDatabase(PKDSIM_LOADER_BLOCK LoaderBlock);
ULONG64 MiMakeProtectionPte(ULONG Protection);
BOOLEAN MiMakePageTablesValid(ULONG64 Address);
BOOLEAN MiFillPte(PULONG64 Pte, PVOID Target, ULONG64 Bits);     // with a zeroed page
PVOID MiMapPageInHyperSpace(PFN_NUMBER Page, PKIRQL OldIrql);
VOID MiUnmapPageInHyperSpace(KIRQL OldIrql);
PVOID MiReserveDriverImage(SIZE_T Size);
VOID MiReleaseDriverImage(PVOID Base, SIZE_T Size);
VOID MiInitializeLoadedModuleList(PKDSIM_LOADER_BLOCK LoaderBlock);
VOID MiRememberUnloadedDriver(PKLDR_DATA_TABLE_ENTRY Entry);
