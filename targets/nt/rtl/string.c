// Zero-terminated and counted strings. Case mapping covers Latin-1, which is all the kernel's own
// names use.
#include "rtl.h"

#define TAG_STRING 'grtS'  // "Strg"

SIZE_T strlen(const char *String)
{
    SIZE_T Length = 0;

    while (String[Length] != 0)
        Length++;
    return Length;
}

int strncmp(const char *First, const char *Second, SIZE_T Count)
{
    for (; Count != 0; Count--, First++, Second++)
        if (*First != *Second || *First == 0)
            return (UCHAR)*First - (UCHAR)*Second;
    return 0;
}

int strcmp(const char *First, const char *Second)
{
    return strncmp(First, Second, ~(SIZE_T)0);
}

int _stricmp(const char *First, const char *Second)
{
    while (*First != 0 && RtlUpperChar(*First) == RtlUpperChar(*Second))
        First++, Second++;
    return (UCHAR)RtlUpperChar(*First) - (UCHAR)RtlUpperChar(*Second);
}

char *strchr(const char *String, int Character)
{
    for (; *String != (char)Character; String++)
        if (*String == 0)
            return NULL;
    return (char *)String;
}

SIZE_T wcslen(const WCHAR *String)
{
    SIZE_T Length = 0;

    while (String[Length] != 0)
        Length++;
    return Length;
}

WCHAR *wcsrchr(const WCHAR *String, WCHAR Character)
{
    const WCHAR *Last = NULL;

    for (;; String++) {
        if (*String == Character)
            Last = String;
        if (*String == 0)
            return (WCHAR *)Last;
    }
}

int _wcsicmp(const WCHAR *First, const WCHAR *Second)
{
    while (*First != 0 && RtlUpcaseUnicodeChar(*First) == RtlUpcaseUnicodeChar(*Second))
        First++, Second++;
    return RtlUpcaseUnicodeChar(*First) - RtlUpcaseUnicodeChar(*Second);
}

CHAR RtlUpperChar(CHAR Character)
{
    return Character >= 'a' && Character <= 'z' ? Character - 0x20 : Character;
}

WCHAR RtlUpcaseUnicodeChar(WCHAR Character)
{
    BOOLEAN Lower = (Character >= 'a' && Character <= 'z') ||
                    (Character >= 0xE0 && Character <= 0xFE && Character != 0xF7);

    return Lower ? Character - 0x20 : Character;
}

WCHAR RtlDowncaseUnicodeChar(WCHAR Character)
{
    BOOLEAN Upper = (Character >= 'A' && Character <= 'Z') ||
                    (Character >= 0xC0 && Character <= 0xDE && Character != 0xD7);

    return Upper ? Character + 0x20 : Character;
}

VOID RtlInitAnsiString(STRING *Destination, const CHAR *Source)
{
    SIZE_T Length = Source == NULL ? 0 : strlen(Source);

    Destination->Length = (USHORT)Length;
    Destination->MaximumLength = Source == NULL ? 0 : (USHORT)(Length + 1);
    Destination->Buffer = (CHAR *)Source;
}

VOID RtlInitUnicodeString(UNICODE_STRING *Destination, const WCHAR *Source)
{
    SIZE_T Length = Source == NULL ? 0 : wcslen(Source) * sizeof(WCHAR);

    Destination->Length = (USHORT)Length;
    Destination->MaximumLength = Source == NULL ? 0 : (USHORT)(Length + sizeof(WCHAR));
    Destination->Buffer = (WCHAR *)Source;
}

VOID RtlCopyUnicodeString(UNICODE_STRING *Destination, const UNICODE_STRING *Source)
{
    USHORT Length = Source == NULL ? 0 : Source->Length;

    if (Length > Destination->MaximumLength)
        Length = Destination->MaximumLength;
    if (Length != 0)
        memmove(Destination->Buffer, Source->Buffer, Length);
    Destination->Length = Length;
    if (Length + sizeof(WCHAR) <= Destination->MaximumLength)
        Destination->Buffer[Length / sizeof(WCHAR)] = 0;
}

LONG RtlCompareUnicodeString(const UNICODE_STRING *First, const UNICODE_STRING *Second,
                             BOOLEAN CaseInsensitive)
{
    ULONG Length1 = First->Length / sizeof(WCHAR), Length2 = Second->Length / sizeof(WCHAR);

    for (ULONG i = 0; i < Length1 && i < Length2; i++) {
        WCHAR A = First->Buffer[i], B = Second->Buffer[i];
        if (CaseInsensitive)
            A = RtlUpcaseUnicodeChar(A), B = RtlUpcaseUnicodeChar(B);
        if (A != B)
            return (LONG)A - (LONG)B;
    }
    return (LONG)Length1 - (LONG)Length2;
}

BOOLEAN RtlEqualUnicodeString(const UNICODE_STRING *First, const UNICODE_STRING *Second,
                              BOOLEAN CaseInsensitive)
{
    return First->Length == Second->Length &&
           RtlCompareUnicodeString(First, Second, CaseInsensitive) == 0;
}

BOOLEAN RtlPrefixUnicodeString(const UNICODE_STRING *Prefix, const UNICODE_STRING *String,
                               BOOLEAN CaseInsensitive)
{
    UNICODE_STRING Start = *String;

    if (Prefix->Length > String->Length)
        return FALSE;
    Start.Length = Prefix->Length;
    return RtlEqualUnicodeString(Prefix, &Start, CaseInsensitive);
}

NTSTATUS RtlAppendUnicodeStringToString(UNICODE_STRING *Destination, const UNICODE_STRING *Source)
{
    USHORT Length = Destination->Length;

    if (Length + Source->Length > Destination->MaximumLength)
        return STATUS_BUFFER_TOO_SMALL;
    memmove((UCHAR *)Destination->Buffer + Length, Source->Buffer, Source->Length);
    Length += Source->Length;
    Destination->Length = Length;
    if (Length + sizeof(WCHAR) <= Destination->MaximumLength)
        Destination->Buffer[Length / sizeof(WCHAR)] = 0;
    return STATUS_SUCCESS;
}

NTSTATUS RtlAppendUnicodeToString(UNICODE_STRING *Destination, const WCHAR *Source)
{
    UNICODE_STRING String;

    RtlInitUnicodeString(&String, Source);
    return RtlAppendUnicodeStringToString(Destination, &String);
}

NTSTATUS RtlAnsiStringToUnicodeString(UNICODE_STRING *Destination, const STRING *Source,
                                      BOOLEAN Allocate)
{
    USHORT Length = Source->Length * sizeof(WCHAR);

    if (Allocate) {
        Destination->MaximumLength = Length + sizeof(WCHAR);
        Destination->Buffer =
            ExAllocatePoolWithTag(PagedPool, Destination->MaximumLength, TAG_STRING);
        if (Destination->Buffer == NULL)
            return STATUS_NO_MEMORY;
    } else if (Length + sizeof(WCHAR) > Destination->MaximumLength) {
        return STATUS_BUFFER_OVERFLOW;
    }
    for (USHORT i = 0; i < Source->Length; i++)
        Destination->Buffer[i] = (UCHAR)Source->Buffer[i];
    Destination->Buffer[Source->Length] = 0;
    Destination->Length = Length;
    return STATUS_SUCCESS;
}

NTSTATUS RtlUnicodeStringToAnsiString(STRING *Destination, const UNICODE_STRING *Source,
                                      BOOLEAN Allocate)
{
    USHORT Length = Source->Length / sizeof(WCHAR);

    if (Allocate) {
        Destination->MaximumLength = Length + 1;
        Destination->Buffer =
            ExAllocatePoolWithTag(PagedPool, Destination->MaximumLength, TAG_STRING);
        if (Destination->Buffer == NULL)
            return STATUS_NO_MEMORY;
    } else if (Length + 1 > Destination->MaximumLength) {
        return STATUS_BUFFER_OVERFLOW;
    }
    for (USHORT i = 0; i < Length; i++)
        Destination->Buffer[i] = Source->Buffer[i] > 0xFF ? '?' : (CHAR)Source->Buffer[i];
    Destination->Buffer[Length] = 0;
    Destination->Length = Length;
    return STATUS_SUCCESS;
}

VOID RtlFreeUnicodeString(UNICODE_STRING *String)
{
    if (String->Buffer != NULL)
        ExFreePoolWithTag(String->Buffer, TAG_STRING);
    memset(String, 0, sizeof(*String));
}

VOID RtlFreeAnsiString(STRING *String)
{
    if (String->Buffer != NULL)
        ExFreePoolWithTag(String->Buffer, TAG_STRING);
    memset(String, 0, sizeof(*String));
}
