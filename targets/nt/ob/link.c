// Symbolic links.
#include "ob.h"

NTSTATUS ObpCreateSymbolicLink(PUNICODE_STRING Name, PUNICODE_STRING Target)
{
    OBJECT_ATTRIBUTES Attributes;
    POBJECT_SYMBOLIC_LINK Link;
    NTSTATUS Status;
    PVOID Object;

    InitializeObjectAttributes(&Attributes, Name, OBJ_PERMANENT | OBJ_CASE_INSENSITIVE);
    Status = ObCreateObject(KernelMode, ObpSymbolicLinkObjectType, &Attributes, KernelMode, NULL,
                            sizeof(*Link), 0, 0, &Object);
    if (!NT_SUCCESS(Status))
        return Status;
    Link = Object;
    Link->LinkTarget.MaximumLength = Target->Length + sizeof(WCHAR);
    Link->LinkTarget.Buffer =
        ExAllocatePoolWithTag(PagedPool, Link->LinkTarget.MaximumLength, OB_NAME_TAG);
    if (Link->LinkTarget.Buffer == NULL) {
        ObMakeTemporaryObject(Object);
        ObDereferenceObject(Object);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlCopyUnicodeString(&Link->LinkTarget, Target);
    KeQuerySystemTimePrecise(&Link->CreationTime);
    return ObInsertObject(Object, NULL, 0, 0, NULL, NULL);
}

VOID ObpDeleteSymbolicLink(PVOID Object)
{
    POBJECT_SYMBOLIC_LINK Link = Object;

    if (Link->LinkTarget.Buffer != NULL)
        ExFreePoolWithTag(Link->LinkTarget.Buffer, OB_NAME_TAG);
}
