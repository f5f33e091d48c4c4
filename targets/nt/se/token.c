// Access tokens: who a process runs as. Each account below stands where the logon that makes such a
// token in Windows does.
#include "se.h"

#define TAG_TOKEN_DYNAMIC 'dTeS'            // "SeTd"
#define TAG_TOKEN_LOCK 'lTeS'
#define TOKEN_NOT_LOW 0x2000
#define TOKEN_IS_FILTERED 0x0800
#define TOKEN_VIRTUALIZE_ALLOWED 0x0200
#define TOKEN_MANDATORY_POLICY_VALID_MASK 3
#define SESSION_MAXIMUM_GROUPS 14
#define NEVER 0x7FFFFFFFFFFFFFFFLL
#define MANDATORY (SE_GROUP_MANDATORY | SE_GROUP_ENABLED_BY_DEFAULT | SE_GROUP_ENABLED)
#define OWNER_GROUP (SE_GROUP_ENABLED_BY_DEFAULT | SE_GROUP_ENABLED | SE_GROUP_OWNER)
#define INTEGRITY (SE_GROUP_INTEGRITY | SE_GROUP_INTEGRITY_ENABLED)
#define LOGON_ID (MANDATORY | SE_GROUP_LOGON_ID)

typedef struct _SEP_GROUP {
    PSID *Sid;
    ULONG Attributes;
} SEP_GROUP;

typedef struct _SEP_ACCOUNT {
    PSID *User;
    PSID *PrimaryGroup;
    ULONG DefaultOwner;                     // index: 0 is the user
    ULONG LogonId;
    ULONG TokenFlags;
    ULONG64 Present, Enabled;               // privileges, one bit for each LUID
    PCSTR Source;                           // eight characters
    SEP_GROUP Groups[SESSION_MAXIMUM_GROUPS];
} SEP_ACCOUNT;

// Groups and privileges as `whoami /all` shows them for these accounts on 19041.
static const SEP_ACCOUNT SepAccounts[] = {
    [AccountSystem] = {&SeLocalSystemSid, &SeLocalSystemSid, 1, 0x3E7, TOKEN_NOT_LOW,
        0x1FF2FFFFBC, 0x1E60B1E890, "*SYSTEM*",
        {{&SeAliasAdminsSid, OWNER_GROUP}, {&SeWorldSid, MANDATORY},
         {&SeAuthenticatedUsersSid, MANDATORY}, {&SeSystemMandatorySid, INTEGRITY}}},
    [AccountLocalService] = {&SeLocalServiceSid, &SeLocalServiceSid, 0, 0x3E5, TOKEN_NOT_LOW,
        0x662A81028, 0x260800000, "Advapi  ",
        {{&SeSystemMandatorySid, INTEGRITY}, {&SeWorldSid, MANDATORY},
         {&SeAliasUsersSid, MANDATORY}, {&SeServiceSid, MANDATORY},
         {&SeAuthenticatedUsersSid, MANDATORY}, {&SeThisOrganizationSid, MANDATORY},
         {&SeLocalSid, MANDATORY}}},
    [AccountNetworkService] = {&SeNetworkServiceSid, &SeNetworkServiceSid, 0, 0x3E4, TOKEN_NOT_LOW,
        0x262A81028, 0x260800000, "Advapi  ",
        {{&SeSystemMandatorySid, INTEGRITY}, {&SeWorldSid, MANDATORY},
         {&SeAliasUsersSid, MANDATORY}, {&SeServiceSid, MANDATORY},
         {&SeAuthenticatedUsersSid, MANDATORY}, {&SeThisOrganizationSid, MANDATORY},
         {&SeLocalSid, MANDATORY}}},
    [AccountWindowManager] = {&SeWindowManagerSid, &SeWindowManagerSid, 0, 0, TOKEN_NOT_LOW,
        0x200804000, 0x200804000, "Advapi  ",
        {{&SeSystemMandatorySid, INTEGRITY}, {&SeWorldSid, MANDATORY},
         {&SeAliasUsersSid, MANDATORY}, {&SeInteractiveSid, MANDATORY},
         {&SeAuthenticatedUsersSid, MANDATORY}, {&SeThisOrganizationSid, MANDATORY},
         {&SeLocalSid, MANDATORY}, {&SeWindowManagerGroupSid, OWNER_GROUP}}},
    [AccountUser] = {&SepUserSid, &SepNoneSid, 0, 0,
        TOKEN_NOT_LOW | TOKEN_IS_FILTERED | TOKEN_VIRTUALIZE_ALLOWED,
        0x602880000, 0x800000, "User32 \0",
        {{&SepNoneSid, MANDATORY}, {&SeWorldSid, MANDATORY},
         {&SeAliasAdminsSid, SE_GROUP_USE_FOR_DENY_ONLY}, {&SeAliasUsersSid, MANDATORY},
         {&SeInteractiveSid, MANDATORY}, {&SeAuthenticatedUsersSid, MANDATORY},
         {&SeThisOrganizationSid, MANDATORY}, {&SeLocalAccountSid, MANDATORY},
         {&SepLogonSid, LOGON_ID}, {&SeLocalSid, MANDATORY},
         {&SeMediumMandatorySid, INTEGRITY}}},
};

POBJECT_TYPE SeTokenObjectType = NULL;
static ULONG SepLogonIds[ARRAYSIZE(SepAccounts)];

static ULONG SepCountGroups(const SEP_ACCOUNT *Account)
{
    ULONG Count = 0;

    while (Count < SESSION_MAXIMUM_GROUPS && Account->Groups[Count].Sid)
        Count++;
    return Count;
}

// The user, the groups and their SIDs, all in the token's variable part; its length when no token
// is given.
static ULONG SepFillVariablePart(PTOKEN Token, const SEP_ACCOUNT *Account)
{
    ULONG Count = 1 + SepCountGroups(Account), Size = Count * sizeof(SID_AND_ATTRIBUTES);
    PSID_AND_ATTRIBUTES Entries = Token ? (PSID_AND_ATTRIBUTES)&Token->VariablePart : NULL;

    for (ULONG i = 0; i < Count; i++) {
        PSID Sid = i == 0 ? *Account->User : *Account->Groups[i - 1].Sid;
        ULONG Length = RtlLengthSid(Sid);

        if (Token) {
            Entries[i].Sid = (PUCHAR)Entries + Size;
            Entries[i].Attributes = i == 0 ? 0 : Account->Groups[i - 1].Attributes;
            memcpy(Entries[i].Sid, Sid, Length);
            if (Entries[i].Attributes & SE_GROUP_INTEGRITY)
                Token->IntegrityLevelIndex = i;
        }
        Size += Length;
    }
    if (Token) {
        Token->UserAndGroups = Entries;
        Token->UserAndGroupCount = Count;
        Token->VariableLength = Size;
    }
    return Size;
}

// Bit i of the words for the two halves of a SID's last byte: whether entry i may be that SID.
static VOID SepHashSids(PSID_AND_ATTRIBUTES_HASH Hash, PSID_AND_ATTRIBUTES Entries, ULONG Count)
{
    Hash->SidCount = Count;
    Hash->SidAttr = Entries;
    for (ULONG i = 0; i < Count; i++) {
        PSID Sid = Entries[i].Sid;
        UCHAR Last = (UCHAR)Sid->SubAuthority[Sid->SubAuthorityCount - 1];

        Hash->Hash[Last & 0xF] |= 1ULL << i;
        Hash->Hash[16 + (Last >> 4)] |= 1ULL << i;
    }
}

// The primary group and the default access list can change later: they have a block of their own.
// By default the owner and SYSTEM may do all; who logs on reads. SYSTEM lets administrators read.
static BOOLEAN SepFillDynamicPart(PTOKEN Token, const SEP_ACCOUNT *Account)
{
    BOOLEAN System = *Account->User == SeLocalSystemSid, LogsOn = *Account->User == SepUserSid;
    PSID Owner = Token->UserAndGroups[Token->DefaultOwnerIndex].Sid;
    SEP_ALLOWED Allowed[] = {
        {System ? SeLocalSystemSid : Owner, GENERIC_ALL},
        {System ? SeAliasAdminsSid : SeLocalSystemSid,
         System ? GENERIC_READ | GENERIC_EXECUTE : GENERIC_ALL},
        {SepLogonSid, GENERIC_READ | GENERIC_EXECUTE},
    };
    ULONG Count = LogsOn ? 3 : 2, Group = RtlLengthSid(*Account->PrimaryGroup);

    Token->DynamicCharged = SepBuildAcl(NULL, Allowed, Count) + Group;
    Token->DynamicPart = ExAllocatePoolWithTag(PagedPool, Token->DynamicCharged, TAG_TOKEN_DYNAMIC);
    if (Token->DynamicPart == NULL)
        return FALSE;
    Token->PrimaryGroup = Token->DynamicPart;
    memcpy(Token->PrimaryGroup, *Account->PrimaryGroup, Group);
    Token->DefaultDacl = (PACL)((PUCHAR)Token->DynamicPart + Group);
    SepBuildAcl(Token->DefaultDacl, Allowed, Count);
    return TRUE;
}

static VOID SepTokenDelete(PVOID Object)
{
    PTOKEN Token = Object;

    if (Token->DynamicPart)
        ExFreePoolWithTag(Token->DynamicPart, TAG_TOKEN_DYNAMIC);
    if (Token->TokenLock) {
        ExDeleteResourceLite(Token->TokenLock);
        ExFreePoolWithTag(Token->TokenLock, TAG_TOKEN_LOCK);
    }
}

NTSTATUS SeCreateAccountToken(ULONG Name, ULONG SessionId, PTOKEN *NewToken)
{
    const SEP_ACCOUNT *Account = &SepAccounts[Name < ARRAYSIZE(SepAccounts) ? Name : 0];
    ULONG Size = FIELD_OFFSET(TOKEN, VariablePart) + SepFillVariablePart(NULL, Account);
    PTOKEN Token;
    NTSTATUS Status = ObCreateObject(KernelMode, SeTokenObjectType, NULL, KernelMode, NULL, Size, 0,
                                     0, (PVOID *)&Token);

    if (!NT_SUCCESS(Status))
        return Status;
    memcpy(Token->TokenSource.SourceName, Account->Source, sizeof(Token->TokenSource.SourceName));
    Token->TokenId = ExAllocateLocallyUniqueId();
    Token->ModifiedId = ExAllocateLocallyUniqueId();
    Token->AuthenticationId.LowPart = Account->LogonId ? Account->LogonId : SepLogonIds[Name];
    Token->ExpirationTime.QuadPart = NEVER;
    Token->Privileges.Present = Account->Present;
    Token->Privileges.Enabled = Token->Privileges.EnabledByDefault = Account->Enabled;
    Token->SessionId = SessionId;
    Token->DefaultOwnerIndex = Account->DefaultOwner;
    Token->TokenType = TokenPrimary;
    Token->TokenFlags = Account->TokenFlags;
    Token->TokenInUse = TRUE;
    Token->MandatoryPolicy = TOKEN_MANDATORY_POLICY_VALID_MASK;
    SepFillVariablePart(Token, Account);
    SepHashSids(&Token->SidHash, Token->UserAndGroups, Token->UserAndGroupCount);
    Token->TokenLock = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(ERESOURCE), TAG_TOKEN_LOCK);
    if (Token->TokenLock)
        ExInitializeResourceLite(Token->TokenLock);
    if (Token->TokenLock == NULL || !SepFillDynamicPart(Token, Account)) {
        ObDereferenceObject(Token);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    SeAssignSecurity(Token, Token);
    *NewToken = Token;
    return ObInsertObject(Token, NULL, 0, 0, NULL, NULL);
}

BOOLEAN SeInitSystem(VOID)
{
    OBJECT_TYPE_INITIALIZER Initializer = {0};
    UNICODE_STRING Name;

    SepInitializeSids();
    SepInitializeDefaultDescriptor();
    SepLogonIds[AccountUser] = SepLogonSid->SubAuthority[2];
    SepLogonIds[AccountWindowManager] = ExAllocateLocallyUniqueId().LowPart;
    RtlInitUnicodeString(&Name, L"Token");
    Initializer.CaseInsensitive = 1;
    Initializer.SecurityRequired = 1;
    Initializer.PoolType = PagedPool;
    Initializer.ValidAccessMask = 0xF01FF;  // TOKEN_ALL_ACCESS
    Initializer.DeleteProcedure = (PVOID)SepTokenDelete;
    return NT_SUCCESS(ObCreateObjectType(&Name, &Initializer, NULL, &SeTokenObjectType));
}
