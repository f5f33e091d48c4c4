// A process's half of the address space: its regions (VADs) and their pages. Pages are given at once:
// there is no user code yet whose faults could ask for them.
#include "mi.h"
#include "../rtl/rtl.h"

#define TAG_VAD_SHORT 'SdaV'                // "VadS"
#define VPN(Address) ((ULONG64)(Address) >> PAGE_SHIFT)

static ULONG64 MiVadStart(PMMVAD_SHORT Vad)
{
    return (ULONG64)Vad->StartingVpnHigh << 32 | Vad->StartingVpn;
}

static VOID MiInsertVad(PEPROCESS Process, PMMVAD_SHORT Vad)
{
    PRTL_BALANCED_NODE Node = Process->VadRoot.Root, Parent = NULL;
    BOOLEAN Right = FALSE;

    while (Node) {
        Parent = Node;
        Right = MiVadStart((PMMVAD_SHORT)Node) < MiVadStart(Vad);
        Node = Node->Children[Right];
    }
    RtlAvlInsertNodeEx(&Process->VadRoot, Parent, Right, &Vad->VadNode);
    Process->VadCount++;
}

NTSTATUS MmReserveUserPages(PEPROCESS Process, PVOID Base, SIZE_T Pages, ULONG Protection)
{
    PMMVAD_SHORT Vad = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Vad), TAG_VAD_SHORT);
    ULONG64 First = VPN(Base), Last = First + Pages - 1;

    if (Vad == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    memset(Vad, 0, sizeof(*Vad));
    Vad->StartingVpn = (ULONG)First;
    Vad->StartingVpnHigh = (UCHAR)(First >> 32);
    Vad->EndingVpn = (ULONG)Last;
    Vad->EndingVpnHigh = (UCHAR)(Last >> 32);
    Vad->u.VadFlags.PrivateMemory = 1;
    Vad->u.VadFlags.Protection = Protection;
    MiInsertVad(Process, Vad);
    Process->VirtualSize += Pages << PAGE_SHIFT;
    if (Process->VirtualSize > Process->PeakVirtualSize)
        Process->PeakVirtualSize = Process->VirtualSize;
    return STATUS_SUCCESS;
}

static PMMVAD_SHORT MiLocateAddress(PEPROCESS Process, ULONG64 Vpn)
{
    PRTL_BALANCED_NODE Node = Process->VadRoot.Root;

    while (Node) {
        PMMVAD_SHORT Vad = (PMMVAD_SHORT)Node;

        if (Vpn >= MiVadStart(Vad) &&
            Vpn <= ((ULONG64)Vad->EndingVpnHigh << 32 | Vad->EndingVpn))
            return Vad;
        Node = Node->Children[Vpn > MiVadStart(Vad)];
    }
    return NULL;
}

// Its counters, as the faults that bring such pages in would leave them.
static VOID MiChargeProcess(PEPROCESS Process, SIZE_T Pages)
{
    PMMSUPPORT_INSTANCE Vm = &Process->Vm.Instance;

    Process->CommitCharge += Pages;
    if (Process->CommitCharge > Process->CommitChargePeak)
        Process->CommitChargePeak = Process->CommitCharge;
    Process->NumberOfPrivatePages += Pages;
    Vm->WorkingSetSize += Pages;
    Vm->WorkingSetPrivateSize += Pages;
    Vm->WorkingSetLeafSize += Pages;
    Vm->WorkingSetLeafPrivateSize += Pages;
    Vm->PageFaultCount += (ULONG)Pages;
    if (Vm->WorkingSetSize > Vm->PeakWorkingSetSize)
        Vm->PeakWorkingSetSize = Vm->WorkingSetSize;
}

NTSTATUS MmCommitUserPages(PEPROCESS Process, PVOID VirtualAddress, SIZE_T Pages, ULONG Protection)
{
    ULONG64 Address = (ULONG64)VirtualAddress;
    ULONG64 Bits = MiMakeProtectionPte(Protection) | PTE_OWNER;
    PMMVAD_SHORT Vad = MiLocateAddress(Process, VPN(Address));
    KIRQL OldIrql = KeAcquireSpinLockRaiseToDpc(&MiState.SystemVa.SystemVaLock);
    SIZE_T Done = 0;

    while (Done < Pages && MiMakePageTablesValid(Address) &&
           MiFillPte(MiPteOf(Address), (PVOID)Address, Bits)) {
        Address += PAGE_SIZE;
        Done++;
    }
    KeReleaseSpinLock(&MiState.SystemVa.SystemVaLock, OldIrql);
    MiChargeProcess(Process, Done);
    if (Vad)
        Vad->u1.VadFlags1.CommitCharge += (ULONG)Done;
    return Done == Pages ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

// The page every process sees at 7FFE0000, for reading.
NTSTATUS MmMapSharedUserData(PEPROCESS Process)
{
    ULONG64 Frame = *MiPteOf((ULONG64)SHARED_USER_DATA) & 0xFFFFFFFFF000ULL;
    KIRQL OldIrql = KeAcquireSpinLockRaiseToDpc(&MiState.SystemVa.SystemVaLock);
    BOOLEAN Done = MiMakePageTablesValid(MM_SHARED_USER_DATA_VA);

    if (Done) {
        *MiPteOf(MM_SHARED_USER_DATA_VA) = Frame | MiMakeProtectionPte(MM_READONLY) | PTE_OWNER;
        MmPfnDatabase[Frame >> PAGE_SHIFT].u2.ShareCount++;
    }
    KeReleaseSpinLock(&MiState.SystemVa.SystemVaLock, OldIrql);
    return Done ? MmReserveUserPages(Process, (PVOID)MM_SHARED_USER_DATA_VA, 1, MM_READONLY)
                : STATUS_INSUFFICIENT_RESOURCES;
}
