// Access control lists and security descriptors, self-relative as objects carry them.
#include "se.h"

#define TAG_SECURITY_DESCRIPTOR 'dSeS'

static SECURITY_DESCRIPTOR SepSystemDefaultSd;
static ULONG SepSystemDefaultDacl[16];
PSECURITY_DESCRIPTOR SeSystemDefaultSd = NULL;

ULONG SepBuildAcl(PACL Acl, const SEP_ALLOWED *Allowed, ULONG Count)
{
    ULONG Size = sizeof(ACL);

    for (ULONG i = 0; i < Count; i++) {
        ULONG SidSize = RtlLengthSid(Allowed[i].Sid);
        USHORT AceSize = (USHORT)(FIELD_OFFSET(ACCESS_ALLOWED_ACE, SidStart) + SidSize);
        PACCESS_ALLOWED_ACE Ace = (PACCESS_ALLOWED_ACE)((PUCHAR)Acl + Size);

        if (Acl) {
            Ace->Header.AceType = ACCESS_ALLOWED_ACE_TYPE;
            Ace->Header.AceFlags = 0;
            Ace->Header.AceSize = AceSize;
            Ace->Mask = Allowed[i].Mask;
            memcpy(&Ace->SidStart, Allowed[i].Sid, SidSize);
        }
        Size += AceSize;
    }
    if (Acl) {
        memset(Acl, 0, sizeof(*Acl));
        Acl->AclRevision = ACL_REVISION;
        Acl->AclSize = (USHORT)Size;
        Acl->AceCount = (USHORT)Count;
    }
    return Size;
}

// A default list speaks of generic rights; an object's own names what they mean for its type.
static VOID SepMapGenericRights(PACL Acl, ACCESS_MASK All)
{
    PACE_HEADER Ace = (PACE_HEADER)(Acl + 1);

    for (ULONG i = 0; i < Acl->AceCount; i++) {
        PACCESS_ALLOWED_ACE Allowed = (PACCESS_ALLOWED_ACE)Ace;

        if (Allowed->Mask & GENERIC_ALL)
            Allowed->Mask = (Allowed->Mask & ~GENERIC_ALL) | All;
        if (Allowed->Mask & (GENERIC_READ | GENERIC_EXECUTE))
            Allowed->Mask = READ_CONTROL;
        Ace = (PACE_HEADER)((PUCHAR)Ace + Ace->AceSize);
    }
}

static PVOID SepBuildSecurityDescriptor(PTOKEN Creator, ACCESS_MASK All, PULONG Size)
{
    PSID Owner = Creator->UserAndGroups[Creator->DefaultOwnerIndex].Sid;
    PSID Group = Creator->PrimaryGroup;
    PACL Dacl = Creator->DefaultDacl;
    ULONG OwnerSize = RtlLengthSid(Owner), GroupSize = RtlLengthSid(Group);
    PSECURITY_DESCRIPTOR_RELATIVE Descriptor;

    *Size = sizeof(*Descriptor) + OwnerSize + GroupSize + Dacl->AclSize;
    Descriptor = ExAllocatePoolWithTag(PagedPool, *Size, TAG_SECURITY_DESCRIPTOR);
    if (Descriptor == NULL)
        return NULL;
    memset(Descriptor, 0, sizeof(*Descriptor));
    Descriptor->Revision = SECURITY_DESCRIPTOR_REVISION;
    Descriptor->Control = SE_DACL_PRESENT | SE_SELF_RELATIVE;
    Descriptor->Dacl = sizeof(*Descriptor);
    Descriptor->Owner = Descriptor->Dacl + Dacl->AclSize;
    Descriptor->Group = Descriptor->Owner + OwnerSize;
    memcpy((PUCHAR)Descriptor + Descriptor->Owner, Owner, OwnerSize);
    memcpy((PUCHAR)Descriptor + Descriptor->Group, Group, GroupSize);
    memcpy((PUCHAR)Descriptor + Descriptor->Dacl, Dacl, Dacl->AclSize);
    SepMapGenericRights((PACL)((PUCHAR)Descriptor + Descriptor->Dacl), All);
    return Descriptor;
}

// What an object gets when its creator, who has this token, asks for nothing else.
VOID SeAssignSecurity(PVOID Object, PTOKEN Creator)
{
    ULONG Size;
    PVOID Descriptor =
        SepBuildSecurityDescriptor(Creator, ObGetObjectType(Object)->TypeInfo.ValidAccessMask, &Size);

    if (Descriptor == NULL)
        return;
    ObSetSecurityDescriptor(Object, Descriptor, Size);
    ExFreePoolWithTag(Descriptor, TAG_SECURITY_DESCRIPTOR);
}

// For objects that the kernel makes before there is a token: SYSTEM may do all, administrators read.
VOID SepInitializeDefaultDescriptor(VOID)
{
    SEP_ALLOWED Allowed[] = {{SeLocalSystemSid, GENERIC_ALL},
                             {SeAliasAdminsSid, GENERIC_READ | GENERIC_EXECUTE}};

    SepBuildAcl((PACL)SepSystemDefaultDacl, Allowed, ARRAYSIZE(Allowed));
    SepSystemDefaultSd.Revision = SECURITY_DESCRIPTOR_REVISION;
    SepSystemDefaultSd.Control = SE_DACL_PRESENT;
    SepSystemDefaultSd.Owner = SeAliasAdminsSid;
    SepSystemDefaultSd.Group = SeLocalSystemSid;
    SepSystemDefaultSd.Dacl = (PACL)SepSystemDefaultDacl;
    SeSystemDefaultSd = &SepSystemDefaultSd;
}
