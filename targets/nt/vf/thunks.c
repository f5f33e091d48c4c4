// Import table thunks: a verified driver's imports that have a verifier's version are pointed
// there.
#include "vf.h"

#define IMAGE_NT_HEADERS_OFFSET 0x3C       // IMAGE_DOS_HEADER.e_lfanew
#define IMAGE_IMPORT_DIRECTORY_OFFSET 0x90 // from the PE signature, PE32+: DataDirectory[1]

typedef struct _IMAGE_IMPORT_DESCRIPTOR {
    ULONG OriginalFirstThunk;
    ULONG TimeDateStamp;
    ULONG ForwarderChain;
    ULONG Name;
    ULONG FirstThunk;
} IMAGE_IMPORT_DESCRIPTOR, *PIMAGE_IMPORT_DESCRIPTOR;

static const VF_THUNK VfPoolThunks[] = {
    {(PVOID)ExAllocatePool, (PVOID)VerifierExAllocatePool},
    {(PVOID)ExAllocatePool2, (PVOID)VerifierExAllocatePool2},
    {(PVOID)ExAllocatePoolWithTag, (PVOID)VerifierExAllocatePoolWithTag},
    {(PVOID)ExAllocatePoolWithQuotaTag, (PVOID)VerifierExAllocatePoolWithQuotaTag},
    {(PVOID)ExFreePool, (PVOID)VerifierExFreePool},
    {(PVOID)ExFreePoolWithTag, (PVOID)VerifierExFreePoolWithTag},
};

static const VF_THUNK VfRegularThunks[] = {
    {(PVOID)KfRaiseIrql, (PVOID)VerifierKfRaiseIrql},
    {(PVOID)KeLowerIrql, (PVOID)VerifierKeLowerIrql},
    {(PVOID)KeAcquireSpinLockRaiseToDpc, (PVOID)VerifierKeAcquireSpinLockRaiseToDpc},
    {(PVOID)KeReleaseSpinLock, (PVOID)VerifierKeReleaseSpinLock},
};

static PVOID ViFindThunk(PVOID Routine)
{
    for (ULONG i = 0; i < ARRAYSIZE(VfPoolThunks); i++)
        if (VfPoolThunks[i].PristineRoutine == Routine)
            return VfPoolThunks[i].NewRoutine;
    for (ULONG i = 0; i < ARRAYSIZE(VfRegularThunks); i++)
        if (VfRegularThunks[i].PristineRoutine == Routine)
            return VfRegularThunks[i].NewRoutine;
    return NULL;
}

// The import address table is read-only by now.
static VOID ViThunkReplacePristine(PVOID *Slot, PVOID Routine)
{
    if (!NT_SUCCESS(MmSetPageProtection(Slot, sizeof(*Slot), MM_READWRITE)))
        return;
    *Slot = Routine;
    MmSetPageProtection(Slot, sizeof(*Slot), MM_READONLY);
}

VOID VfThunkApplyDriverThunks(PKLDR_DATA_TABLE_ENTRY Entry)
{
    PUCHAR Base = Entry->DllBase;
    PUCHAR Headers = Base + *(PULONG)(Base + IMAGE_NT_HEADERS_OFFSET);
    ULONG Rva = *(PULONG)(Headers + IMAGE_IMPORT_DIRECTORY_OFFSET);
    PIMAGE_IMPORT_DESCRIPTOR Import = (PIMAGE_IMPORT_DESCRIPTOR)(Base + Rva);

    if (Rva == 0)
        return;
    for (; Import->FirstThunk != 0; Import++)
        for (PVOID *Slot = (PVOID *)(Base + Import->FirstThunk); *Slot != NULL; Slot++) {
            PVOID Routine = ViFindThunk(*Slot);
            if (Routine != NULL)
                ViThunkReplacePristine(Slot, Routine);
        }
}
