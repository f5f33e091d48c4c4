// Bitmaps, one bit at a time: the kernel's own are small.
#include "rtl.h"

VOID RtlInitializeBitMap(RTL_BITMAP *Map, ULONG *Buffer, ULONG Bits)
{
    Map->SizeOfBitMap = Bits;
    Map->Buffer = Buffer;
}

VOID RtlClearAllBits(RTL_BITMAP *Map)
{
    memset(Map->Buffer, 0, (Map->SizeOfBitMap + 31) / 32 * sizeof(ULONG));
}

BOOLEAN RtlTestBit(const RTL_BITMAP *Map, ULONG Bit)
{
    return (Map->Buffer[Bit / 32] >> (Bit % 32)) & 1;
}

VOID RtlSetBits(RTL_BITMAP *Map, ULONG First, ULONG Count)
{
    for (ULONG Bit = First; Bit < First + Count; Bit++)
        Map->Buffer[Bit / 32] |= 1ul << (Bit % 32);
}

VOID RtlClearBits(RTL_BITMAP *Map, ULONG First, ULONG Count)
{
    for (ULONG Bit = First; Bit < First + Count; Bit++)
        Map->Buffer[Bit / 32] &= ~(1ul << (Bit % 32));
}

static ULONG RtlpFindClearRun(const RTL_BITMAP *Map, ULONG Count, ULONG From, ULONG To)
{
    ULONG Run = 0;

    for (ULONG Bit = From; Bit < To; Bit++) {
        Run = RtlTestBit(Map, Bit) ? 0 : Run + 1;
        if (Run == Count)
            return Bit + 1 - Count;
    }
    return RTL_NO_BITS_FOUND;
}

ULONG RtlFindClearBits(const RTL_BITMAP *Map, ULONG Count, ULONG Hint)
{
    ULONG First;

    if (Hint >= Map->SizeOfBitMap)
        Hint = 0;
    if (Count == 0)
        return Hint;
    First = RtlpFindClearRun(Map, Count, Hint, Map->SizeOfBitMap);
    return First != RTL_NO_BITS_FOUND ? First : RtlpFindClearRun(Map, Count, 0, Map->SizeOfBitMap);
}

ULONG RtlFindClearBitsAndSet(RTL_BITMAP *Map, ULONG Count, ULONG Hint)
{
    ULONG First = RtlFindClearBits(Map, Count, Hint);

    if (First != RTL_NO_BITS_FOUND)
        RtlSetBits(Map, First, Count);
    return First;
}

ULONG RtlNumberOfSetBits(const RTL_BITMAP *Map)
{
    ULONG Count = 0;

    for (ULONG Bit = 0; Bit < Map->SizeOfBitMap; Bit++)
        Count += RtlTestBit(Map, Bit);
    return Count;
}
