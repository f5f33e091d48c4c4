// Physical pages: the PFN database and its lists.
#include "mi.h"

PMMPFN MmPfnDatabase = NULL;
KSPIN_LOCK MiPfnLock = 0;
BOOLEAN MiPfnDatabaseReady = FALSE;
#define PFN_EXISTS (1ULL << 50)             // MMPFN.u4.PfnExists
static PFN_NUMBER MiNextBootPage;           // until the database exists, pages come from here

static VOID MiInitializeList(PMMPFNLIST List, MMLISTS Name)
{
    List->Total = 0;
    List->ListName = Name;
    List->Flink = List->Blink = MM_PFN_NONE;
}

// At the head: a page that was used last is used next, so that a machine at rest keeps to the pages
// it has touched already. Both list ends are page numbers.
static VOID MiLinkPage(PMMPFNLIST List, PFN_NUMBER Page)
{
    PMMPFN Pfn = &MmPfnDatabase[Page];

    Pfn->u2.Blink = MM_PFN_NONE;
    Pfn->u1.Flink = List->Flink;
    if (List->Flink == MM_PFN_NONE)
        List->Blink = Page;
    else
        MmPfnDatabase[List->Flink].u2.Blink = Page;
    List->Flink = Page;
    List->Total++;
    Pfn->u3.e1.PageLocation = (UCHAR)List->ListName;
    MiSystemPartition.Vp.AvailablePages++;
}

static PFN_NUMBER MiUnlinkHead(PMMPFNLIST List)
{
    PFN_NUMBER Page = List->Flink;

    List->Flink = MmPfnDatabase[Page].u1.Flink;
    if (List->Flink == MM_PFN_NONE)
        List->Blink = MM_PFN_NONE;
    else
        MmPfnDatabase[List->Flink].u2.Blink = MM_PFN_NONE;
    List->Total--;
    MiSystemPartition.Vp.AvailablePages--;
    return Page;
}

PFN_NUMBER MiRemoveAnyPage(BOOLEAN *Zeroed)
{
    PMMPFNLIST ZeroList = &MiSystemPartition.PageLists.ZeroedPageListHead;
    PMMPFNLIST FreeList = &MiSystemPartition.PageLists.FreePageListHead;
    PFN_NUMBER Page = MM_PFN_NONE;
    KIRQL OldIrql;

    *Zeroed = TRUE;
    if (!MiPfnDatabaseReady)
        return MiNextBootPage++;
    OldIrql = KeAcquireSpinLockRaiseToDpc(&MiPfnLock);
    if (FreeList->Total) {                  // before the pages nobody has touched yet
        Page = MiUnlinkHead(FreeList);
        *Zeroed = FALSE;
    } else if (ZeroList->Total) {
        Page = MiUnlinkHead(ZeroList);
    }
    if (Page != MM_PFN_NONE)
        MiSystemPartition.Vp.TotalCommittedPages++;
    KeReleaseSpinLock(&MiPfnLock, OldIrql);
    return Page;
}

VOID MiInsertPageInFreeList(PFN_NUMBER Page)
{
    KIRQL OldIrql = KeAcquireSpinLockRaiseToDpc(&MiPfnLock);
    PMMPFN Pfn = &MmPfnDatabase[Page];

    Pfn->PteLong = 0;
    Pfn->u3.ReferenceCount = 0;
    Pfn->u4.PteFrame = 0;
    MiLinkPage(&MiSystemPartition.PageLists.FreePageListHead, Page);
    MiSystemPartition.Vp.TotalCommittedPages--;
    KeReleaseSpinLock(&MiPfnLock, OldIrql);
}

// The page is in use and mapped by this entry.
VOID MiInitializePfn(PFN_NUMBER Page, PULONG64 Pte)
{
    PMMPFN Pfn = &MmPfnDatabase[Page];

    if (!MiPfnDatabaseReady)
        return;
    Pfn->u1.Active.EntireActiveField = 0;
    Pfn->PteAddress = (PMMPTE)Pte;
    Pfn->OriginalPte.u.Long = (ULONG64)MM_READWRITE << 5;
    Pfn->u2.ShareCount = 1;
    Pfn->u3.ReferenceCount = 1;
    Pfn->u3.e1.PageLocation = ActiveAndValid;
    Pfn->u3.e1.Modified = 1;
    Pfn->u3.e1.CacheAttribute = 1;
    Pfn->u4.PteFrame = PTE_FRAME(*MiPteOf((ULONG64)Pte));
    Pfn->u4.PfnExists = 1;
}

// Enter every page that a kernel-half page table maps. Level 4 is the PML4's entries.
static VOID MiAddMappedPages(ULONG64 Address, ULONG Level)
{
    ULONG64 Span = 1ULL << (12 + 9 * (Level - 1));
    ULONG First = Level == 4 ? 256 : 0;
    PULONG64 Pte = MiPteOf((Address | First * Span) | (Level == 4 ? 0xFFFF000000000000ULL : 0));

    for (ULONG up = 1; up < Level; up++)
        Pte = MiPteOf((ULONG64)Pte);
    for (ULONG i = First; i < 512; i++, Pte++) {
        ULONG64 Va = (Address | i * Span) | (Level == 4 ? 0xFFFF000000000000ULL : 0);

        if (!(*Pte & PTE_VALID) || PTE_FRAME(*Pte) >= MiSystemPartition.Vp.NumberOfPhysicalPages)
            continue;
        if (Level == 4 && (Va & 0xFF8000000000ULL) == (MmPteBase & 0xFF8000000000ULL)) {
            MiInitializePfn(PTE_FRAME(*Pte), Pte);      // the PML4 itself
            continue;
        }
        MiInitializePfn(PTE_FRAME(*Pte), Pte);
        if (Level > 1)
            MiAddMappedPages(Va, Level - 1);
    }
}

// All pages of a range in order, onto the empty zeroed list: memory is zero at power-on.
static VOID MiLinkRange(PMMPFNLIST List, PFN_NUMBER First, PFN_NUMBER End)
{
    PMMPFN Pfn = &MmPfnDatabase[First];

    for (PFN_NUMBER Page = First; Page < End; Page++, Pfn++) {
        *(PULONG64)&Pfn->u1 = Page + 1;     // Flink; the fields beside the links are zero
        Pfn->u2.EntireField = Page - 1;
        Pfn->u4.EntireField = PFN_EXISTS;
    }
    MmPfnDatabase[First].u2.Blink = MM_PFN_NONE;
    MmPfnDatabase[End - 1].u1.Flink = MM_PFN_NONE;
    List->Flink = First;
    List->Blink = End - 1;
    List->Total = End - First;
    MiSystemPartition.Vp.AvailablePages += List->Total;
}

VOID MiInitializePfnDatabase(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    PFN_NUMBER Pages = LoaderBlock->NumberOfPages;
    PMMPFNLIST ZeroList = &MiSystemPartition.PageLists.ZeroedPageListHead;

    MiNextBootPage = LoaderBlock->FirstFreePage;
    MmPfnDatabase = (PMMPFN)LoaderBlock->PfnDatabase.Base;
    MiCommitSystemPages(MmPfnDatabase, BYTES_TO_PAGES(Pages * sizeof(MMPFN)), MM_READWRITE);
    MiInitializeList(ZeroList, ZeroedPageList);
    MiInitializeList(&MiSystemPartition.PageLists.FreePageListHead, FreePageList);
    MiInitializeList(&MiSystemPartition.PageLists.StandbyPageListHead, StandbyPageList);
    MiInitializeList(&MiSystemPartition.PageLists.BadPageListHead, BadPageList);
    MiInitializeList(&MiSystemPartition.Vp.ModifiedPageListHead, ModifiedPageList);
    MiInitializeList(&MiSystemPartition.Vp.ModifiedNoWritePageListHead, ModifiedNoWritePageList);
    MiPfnDatabaseReady = TRUE;
    MiAddMappedPages(0, 4);
    for (PFN_NUMBER Page = 0; Page < MiNextBootPage; Page++) {
        MmPfnDatabase[Page].u3.e1.PageLocation = ActiveAndValid;
        MmPfnDatabase[Page].u3.ReferenceCount = 1;
        MmPfnDatabase[Page].u4.PfnExists = 1;
    }
    MiLinkRange(ZeroList, MiNextBootPage, Pages);
    MiSystemPartition.Vp.TotalCommittedPages = MiNextBootPage;
}
