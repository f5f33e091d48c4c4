// Memory routines. The compiler must not turn their loops back into calls of themselves.
#include "rtl.h"

#define SELF __attribute__((no_builtin))

SELF void *memcpy(void *Destination, const void *Source, SIZE_T Length)
{
    UCHAR *To = Destination;
    const UCHAR *From = Source;

    for (; Length >= 8; Length -= 8, To += 8, From += 8)
        *(ULONG64 *)To = *(const ULONG64 *)From;
    for (; Length != 0; Length--)
        *To++ = *From++;
    return Destination;
}

SELF void *memmove(void *Destination, const void *Source, SIZE_T Length)
{
    UCHAR *To = Destination;
    const UCHAR *From = Source;

    // The unsigned difference is small exactly when a forward copy would overwrite unread source.
    if ((ULONG_PTR)To - (ULONG_PTR)From >= Length)
        return memcpy(Destination, Source, Length);
    while (Length-- != 0)
        To[Length] = From[Length];
    return Destination;
}

SELF void *memset(void *Destination, int Value, SIZE_T Length)
{
    UCHAR *To = Destination;
    ULONG64 Pattern = 0x0101010101010101ull * (UCHAR)Value;

    for (; Length >= 8; Length -= 8, To += 8)
        *(ULONG64 *)To = Pattern;
    for (; Length != 0; Length--)
        *To++ = (UCHAR)Value;
    return Destination;
}

SELF SIZE_T RtlCompareMemory(const VOID *First, const VOID *Second, SIZE_T Length)
{
    const UCHAR *A = First, *B = Second;
    SIZE_T Same = 0;

    while (Same < Length && A[Same] == B[Same])
        Same++;
    return Same;
}

SELF int memcmp(const void *First, const void *Second, SIZE_T Length)
{
    SIZE_T Same = RtlCompareMemory(First, Second, Length);

    return Same == Length ? 0 : ((const UCHAR *)First)[Same] - ((const UCHAR *)Second)[Same];
}
