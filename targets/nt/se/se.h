// Security reference monitor: SIDs, access control lists, security descriptors, tokens.
#pragma once
#include "../ob/ob.h"

// Documented layouts ([MS-DTYP] 2.4) that the table of the real kernel's types lacks.
struct _ACL {
    UCHAR AclRevision;
    UCHAR Sbz1;
    USHORT AclSize;
    USHORT AceCount;
    USHORT Sbz2;
};
typedef struct _ACE_HEADER {
    UCHAR AceType;
    UCHAR AceFlags;
    USHORT AceSize;
} ACE_HEADER, *PACE_HEADER;
typedef struct _ACCESS_ALLOWED_ACE {
    ACE_HEADER Header;
    ACCESS_MASK Mask;
    ULONG SidStart;
} ACCESS_ALLOWED_ACE, *PACCESS_ALLOWED_ACE;
typedef struct _SECURITY_DESCRIPTOR_RELATIVE {
    UCHAR Revision;
    UCHAR Sbz1;
    USHORT Control;
    ULONG Owner;
    ULONG Group;
    ULONG Sacl;
    ULONG Dacl;
} SECURITY_DESCRIPTOR_RELATIVE, *PSECURITY_DESCRIPTOR_RELATIVE;
typedef struct _SECURITY_DESCRIPTOR {
    UCHAR Revision;
    UCHAR Sbz1;
    USHORT Control;
    PSID Owner;
    PSID Group;
    PACL Sacl;
    PACL Dacl;
} SECURITY_DESCRIPTOR, *PSECURITY_DESCRIPTOR;

#define ACL_REVISION 2
#define ACCESS_ALLOWED_ACE_TYPE 0
#define SECURITY_DESCRIPTOR_REVISION 1
#define SE_DACL_PRESENT 0x0004
#define SE_SELF_RELATIVE 0x8000
#define SE_GROUP_MANDATORY 0x01
#define SE_GROUP_ENABLED_BY_DEFAULT 0x02
#define SE_GROUP_ENABLED 0x04
#define SE_GROUP_OWNER 0x08
#define SE_GROUP_USE_FOR_DENY_ONLY 0x10
#define SE_GROUP_INTEGRITY 0x20
#define SE_GROUP_INTEGRITY_ENABLED 0x40
#define SE_GROUP_LOGON_ID 0xC0000000
#define GENERIC_ALL 0x10000000
#define GENERIC_EXECUTE 0x20000000
#define GENERIC_READ 0x80000000
#define READ_CONTROL 0x00020000

extern POBJECT_TYPE SeTokenObjectType;
extern PSID SeLocalSystemSid, SeLocalServiceSid, SeNetworkServiceSid, SeWorldSid, SeLocalSid,
    SeAliasAdminsSid, SeAliasUsersSid, SeAuthenticatedUsersSid, SeServiceSid, SeInteractiveSid,
    SeThisOrganizationSid, SeLocalAccountSid, SeWindowManagerSid, SeWindowManagerGroupSid,
    SeSystemMandatorySid, SeMediumMandatorySid, SepUserSid, SepNoneSid, SepLogonSid;

// sid.c
VOID SepInitializeSids(VOID);
ULONG RtlLengthSid(PSID Sid);
LUID ExAllocateLocallyUniqueId(VOID);

// access.c
typedef struct _SEP_ALLOWED {
    PSID Sid;
    ACCESS_MASK Mask;
} SEP_ALLOWED, *PSEP_ALLOWED;
ULONG SepBuildAcl(PACL Acl, const SEP_ALLOWED *Allowed, ULONG Count);     // its size; NULL: only that
extern PSECURITY_DESCRIPTOR SeSystemDefaultSd;
VOID SepInitializeDefaultDescriptor(VOID);
VOID SeAssignSecurity(PVOID Object, PTOKEN Creator);

// token.c
NTSTATUS SeCreateAccountToken(ULONG Account, ULONG SessionId, PTOKEN *Token);
