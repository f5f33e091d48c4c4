// What happens when a verified driver breaks a rule.
#include "vf.h"

VOID VerifierBugCheckIfAppropriate(ULONG Code, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3,
                                   ULONG_PTR P4)
{
    KeBugCheckEx(Code, P1, P2, P3, P4);
}

// CallingAddress lies in the driver to blame.
VOID VfReportIssueWithOptions(ULONG Code, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3, ULONG_PTR P4,
                              PVOID CallingAddress)
{
    PKLDR_DATA_TABLE_ENTRY Entry = MiLookupDataTableEntry(CallingAddress);

    if (Entry != NULL && Entry->DllBase != PsNtosImageBase)
        KiBugCheckDriver = &Entry->BaseDllName;
    VerifierBugCheckIfAppropriate(Code, P1, P2, P3, P4);
}
