// DbgPrint: filter, format, keep in the circular buffer, tell the debugger.
#include "kdp.h"

#define PRINT_BUFFER_SIZE 0x1000
#define PRINT_LINE_SIZE 512

CHAR KdPrintDefaultCircularBuffer[PRINT_BUFFER_SIZE] = {0};
PCHAR KdPrintCircularBuffer = KdPrintDefaultCircularBuffer;
PCHAR KdPrintWritePointer = KdPrintDefaultCircularBuffer;
ULONG KdPrintRolloverCount = 0;
ULONG KdPrintBufferSize = PRINT_BUFFER_SIZE;
static KSPIN_LOCK KdpPrintSpinLock = 0;

static PULONG KdpMask(ULONG ComponentId)
{
    return ComponentId < KdComponentTableSize ? KdComponentTable[ComponentId] : &Kd_DEFAULT_Mask;
}

// Levels up to 31 name a bit, larger ones are masks.
static ULONG KdpLevelMask(ULONG Level)
{
    return Level < 32 ? 1u << Level : Level;
}

NTSTATUS DbgQueryDebugFilterState(ULONG ComponentId, ULONG Level)
{
    return (KdpLevelMask(Level) & (*KdpMask(ComponentId) | Kd_WIN2000_Mask)) != 0;
}

NTSTATUS DbgSetDebugFilterState(ULONG ComponentId, ULONG Level, BOOLEAN State)
{
    if (ComponentId >= KdComponentTableSize)
        return STATUS_INVALID_PARAMETER;
    if (State)
        *KdpMask(ComponentId) |= KdpLevelMask(Level);
    else
        *KdpMask(ComponentId) &= ~KdpLevelMask(Level);
    return STATUS_SUCCESS;
}

VOID KdLogDbgPrint(PSTRING Text)
{
    KIRQL OldIrql = KfRaiseIrql(HIGH_LEVEL);

    KeAcquireSpinLockAtDpcLevel(&KdpPrintSpinLock);
    for (USHORT i = 0; i < Text->Length; i++) {
        *KdPrintWritePointer++ = Text->Buffer[i];
        if (KdPrintWritePointer == KdPrintCircularBuffer + KdPrintBufferSize) {
            KdPrintWritePointer = KdPrintCircularBuffer;
            KdPrintRolloverCount++;
        }
    }
    KeReleaseSpinLockFromDpcLevel(&KdpPrintSpinLock);
    KeLowerIrql(OldIrql);
}

static ULONG vDbgPrintExWithPrefixInternal(PCSTR Prefix, ULONG ComponentId, ULONG Level,
                                           PCSTR Format, va_list Arguments)
{
    CHAR Line[PRINT_LINE_SIZE];
    STRING Text = {0, sizeof(Line), Line};
    SIZE_T Length = 0;
    int Added;

    if (!DbgQueryDebugFilterState(ComponentId, Level))
        return (ULONG)STATUS_SUCCESS;
    while (Prefix[Length] && Length < sizeof(Line)) {
        Line[Length] = Prefix[Length];
        Length++;
    }
    Added = _vsnprintf(Line + Length, sizeof(Line) - Length, Format, Arguments);
    if (Added < 0) {                        // cut off: Windows ends the line
        Line[sizeof(Line) - 1] = '\n';
        Length = sizeof(Line);
    } else {
        Length += (SIZE_T)Added;
    }
    Text.Length = (USHORT)Length;
    KdLogDbgPrint(&Text);
    if (KdDebuggerEnabled)
        DebugPrint(&Text, ComponentId, Level);
    return (ULONG)STATUS_SUCCESS;
}

ULONG vDbgPrintExWithPrefix(PCSTR Prefix, ULONG ComponentId, ULONG Level, PCSTR Format,
                            va_list Arguments)
{
    return vDbgPrintExWithPrefixInternal(Prefix, ComponentId, Level, Format, Arguments);
}

ULONG vDbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, va_list Arguments)
{
    return vDbgPrintExWithPrefixInternal("", ComponentId, Level, Format, Arguments);
}

ULONG DbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, ...)
{
    va_list Arguments;
    ULONG Status;

    va_start(Arguments, Format);
    Status = vDbgPrintExWithPrefixInternal("", ComponentId, Level, Format, Arguments);
    va_end(Arguments);
    return Status;
}

ULONG DbgPrint(PCSTR Format, ...)
{
    va_list Arguments;
    ULONG Status;

    va_start(Arguments, Format);
    Status = vDbgPrintExWithPrefixInternal("", DPFLTR_DEFAULT_ID, DPFLTR_INFO_LEVEL, Format,
                                           Arguments);
    va_end(Arguments);
    return Status;
}
