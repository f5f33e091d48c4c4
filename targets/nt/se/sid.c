// The security identifiers the system knows, and locally unique ids.
#include "se.h"

#define FIRST_LUID 1001                     // lower ids are well known
#define USER_RID 1001
#define NONE_RID 513                        // the group that every local account belongs to

// S-1-Authority-...
#define DEFINE_SID(Name, Authority, Count, ...)                                     \
    static struct {                                                                 \
        UCHAR Revision, SubAuthorityCount, IdentifierAuthority[6];                  \
        ULONG SubAuthority[Count];                                                  \
    } Sep##Name##Value = {1, Count, {0, 0, 0, 0, 0, Authority}, {__VA_ARGS__}};     \
    PSID Name = (PSID)&Sep##Name##Value

DEFINE_SID(SeWorldSid, 1, 1, 0);
DEFINE_SID(SeLocalSid, 2, 1, 0);
DEFINE_SID(SeInteractiveSid, 5, 1, 4);
DEFINE_SID(SeServiceSid, 5, 1, 6);
DEFINE_SID(SeAuthenticatedUsersSid, 5, 1, 11);
DEFINE_SID(SeThisOrganizationSid, 5, 1, 15);
DEFINE_SID(SeLocalSystemSid, 5, 1, 18);
DEFINE_SID(SeLocalServiceSid, 5, 1, 19);
DEFINE_SID(SeNetworkServiceSid, 5, 1, 20);
DEFINE_SID(SeLocalAccountSid, 5, 1, 113);
DEFINE_SID(SeAliasAdminsSid, 5, 2, 32, 544);
DEFINE_SID(SeAliasUsersSid, 5, 2, 32, 545);
DEFINE_SID(SeWindowManagerGroupSid, 5, 2, 90, 0);
DEFINE_SID(SeWindowManagerSid, 5, 3, 90, 0, 1);
DEFINE_SID(SeMediumMandatorySid, 16, 1, 8192);
DEFINE_SID(SeSystemMandatorySid, 16, 1, 16384);
// The machine's own: drawn by SepInitializeSids.
DEFINE_SID(SepUserSid, 5, 5, 21, 0, 0, 0, USER_RID);
DEFINE_SID(SepNoneSid, 5, 5, 21, 0, 0, 0, NONE_RID);
DEFINE_SID(SepLogonSid, 5, 3, 5, 0, 0);

static ULONG64 ExpLuid = FIRST_LUID;

LUID ExAllocateLocallyUniqueId(VOID)
{
    ULONG64 Value = (ULONG64)InterlockedIncrement64((LONG64 *)&ExpLuid) - 1;
    LUID Luid = {.LowPart = (ULONG)Value, .HighPart = (LONG)(Value >> 32)};

    return Luid;
}

ULONG RtlLengthSid(PSID Sid)
{
    return FIELD_OFFSET(SID, SubAuthority) + Sid->SubAuthorityCount * sizeof(ULONG);
}

VOID SepInitializeSids(VOID)
{
    ULONG64 Entropy[] = {KeLoaderBlock->Entropy[6], KeLoaderBlock->Entropy[7]};

    memcpy(&SepUserSid->SubAuthority[1], Entropy, 3 * sizeof(ULONG));
    memcpy(&SepNoneSid->SubAuthority[1], Entropy, 3 * sizeof(ULONG));
    SepLogonSid->SubAuthority[2] = ExAllocateLocallyUniqueId().LowPart;
}
