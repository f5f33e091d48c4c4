// printf for the kernel: %d %i %u %x %X %o %c %C %s %S %p %%, flags - 0 # + blank, width and
// precision (also *), sizes h l ll I I32 I64 w, and %Z %wZ for counted strings.
#include "rtl.h"

typedef struct _FORMAT_OUTPUT {
    CHAR *Next;
    CHAR *End;
    BOOLEAN Overflow;
    ULONG Count;
} FORMAT_OUTPUT;

typedef struct _FORMAT_SPEC {
    BOOLEAN Left;
    BOOLEAN Zero;
    BOOLEAN Alternate;
    CHAR Sign;       // what stands before a positive number: '+', ' ' or nothing
    LONG Width;
    LONG Precision;  // -1: not given
    ULONG Size;      // of an integer, in bytes
    BOOLEAN Wide;
} FORMAT_SPEC;

static VOID FormatChar(FORMAT_OUTPUT *Output, CHAR Character)
{
    if (Output->Next == Output->End) {
        Output->Overflow = TRUE;
        return;
    }
    *Output->Next++ = Character;
    Output->Count++;
}

static VOID FormatPad(FORMAT_OUTPUT *Output, CHAR Character, LONG Count)
{
    for (; Count > 0; Count--)
        FormatChar(Output, Character);
}

// Text of Length characters, narrow or wide, padded to the width.
static VOID FormatText(FORMAT_OUTPUT *Output, const FORMAT_SPEC *Spec, const VOID *Text,
                       LONG Length, BOOLEAN Wide)
{
    if (Spec->Precision >= 0 && Length > Spec->Precision)
        Length = Spec->Precision;
    if (!Spec->Left)
        FormatPad(Output, ' ', Spec->Width - Length);
    for (LONG i = 0; i < Length; i++) {
        WCHAR Character = Wide ? ((const WCHAR *)Text)[i] : ((const UCHAR *)Text)[i];
        FormatChar(Output, Character > 0xFF ? '?' : (CHAR)Character);
    }
    if (Spec->Left)
        FormatPad(Output, ' ', Spec->Width - Length);
}

static LONG FormatLength(const FORMAT_SPEC *Spec, const VOID *Text, BOOLEAN Wide)
{
    LONG Length = 0;

    // With a precision the text needs no terminator.
    while ((Spec->Precision < 0 || Length < Spec->Precision) &&
           (Wide ? ((const WCHAR *)Text)[Length] : ((const UCHAR *)Text)[Length]) != 0)
        Length++;
    return Length;
}

static VOID FormatNumber(FORMAT_OUTPUT *Output, const FORMAT_SPEC *Spec, ULONG64 Value,
                         ULONG Base, BOOLEAN Upper, const CHAR *Prefix)
{
    CHAR Digits[24];  // 64 bits in base 8
    LONG Count = 0, Zeros = 0, PrefixLength = (LONG)strlen(Prefix);

    while (Value != 0) {
        ULONG Digit = (ULONG)(Value % Base);
        Digits[Count++] = (CHAR)(Digit < 10 ? '0' + Digit : (Upper ? 'A' : 'a') + Digit - 10);
        Value /= Base;
    }
    if (Count == 0 && Spec->Precision != 0)
        Digits[Count++] = '0';
    if (Spec->Precision > Count)
        Zeros = Spec->Precision - Count;
    else if (Spec->Precision < 0 && Spec->Zero && !Spec->Left)
        Zeros = Spec->Width - PrefixLength - Count;
    if (Zeros < 0)
        Zeros = 0;

    LONG Blanks = Spec->Width - PrefixLength - Zeros - Count;
    if (!Spec->Left)
        FormatPad(Output, ' ', Blanks);
    while (*Prefix != 0)
        FormatChar(Output, *Prefix++);
    FormatPad(Output, '0', Zeros);
    while (Count != 0)
        FormatChar(Output, Digits[--Count]);
    if (Spec->Left)
        FormatPad(Output, ' ', Blanks);
}

static const CHAR *FormatDigits(const CHAR *Format, LONG *Value)
{
    for (*Value = 0; *Format >= '0' && *Format <= '9'; Format++)
        *Value = *Value * 10 + *Format - '0';
    return Format;
}

static const CHAR *FormatSize(const CHAR *Format, FORMAT_SPEC *Spec)
{
    for (;; Format++) {
        if (*Format == 'l' && Format[1] == 'l')
            Spec->Size = 8, Format++;
        else if (*Format == 'l' || *Format == 'w')
            Spec->Wide = TRUE;
        else if (*Format == 'h')
            Spec->Size = Spec->Size == 2 ? 1 : 2;
        else if (*Format == 'I' && Format[1] == '6' && Format[2] == '4')
            Spec->Size = 8, Format += 2;
        else if (*Format == 'I' && Format[1] == '3' && Format[2] == '2')
            Spec->Size = 4, Format += 2;
        else if (*Format == 'I' || *Format == 'z')
            Spec->Size = 8;
        else
            return Format;
    }
}

static const CHAR *FormatParse(const CHAR *Format, FORMAT_SPEC *Spec, va_list *Arguments)
{
    memset(Spec, 0, sizeof(*Spec));
    Spec->Precision = -1;
    Spec->Size = 4;
    for (;; Format++) {
        if (*Format == '-')
            Spec->Left = TRUE;
        else if (*Format == '0')
            Spec->Zero = TRUE;
        else if (*Format == '#')
            Spec->Alternate = TRUE;
        else if (*Format == '+' || (*Format == ' ' && Spec->Sign == 0))
            Spec->Sign = *Format;
        else
            break;
    }
    if (*Format == '*') {
        Spec->Width = va_arg(*Arguments, int);
        if (Spec->Width < 0)
            Spec->Left = TRUE, Spec->Width = -Spec->Width;
        Format++;
    } else {
        Format = FormatDigits(Format, &Spec->Width);
    }
    if (*Format == '.' && Format[1] == '*') {
        Spec->Precision = va_arg(*Arguments, int);
        Format += 2;
    } else if (*Format == '.') {
        Format = FormatDigits(Format + 1, &Spec->Precision);
    }
    return FormatSize(Format, Spec);
}

static ULONG64 FormatInteger(const FORMAT_SPEC *Spec, BOOLEAN Signed, va_list *Arguments)
{
    if (Spec->Size == 8)
        return va_arg(*Arguments, ULONG64);
    int Value = va_arg(*Arguments, int);
    switch (Spec->Size) {
    case 1:
        return Signed ? (ULONG64)(LONG64)(signed char)Value : (UCHAR)Value;
    case 2:
        return Signed ? (ULONG64)(LONG64)(SHORT)Value : (USHORT)Value;
    default:
        return Signed ? (ULONG64)(LONG64)Value : (ULONG)Value;
    }
}

static VOID FormatSigned(FORMAT_OUTPUT *Output, const FORMAT_SPEC *Spec, va_list *Arguments)
{
    CHAR Prefix[2] = {Spec->Sign, 0};
    ULONG64 Value = FormatInteger(Spec, TRUE, Arguments);

    if ((LONG64)Value < 0) {
        Prefix[0] = '-';
        Value = 0 - Value;
    }
    FormatNumber(Output, Spec, Value, 10, FALSE, Prefix);
}

static VOID FormatCounted(FORMAT_OUTPUT *Output, const FORMAT_SPEC *Spec, va_list *Arguments)
{
    const STRING *String = va_arg(*Arguments, const STRING *);

    // STRING and UNICODE_STRING differ only in what the buffer holds.
    if (String == NULL || String->Buffer == NULL)
        FormatText(Output, Spec, "(null)", 6, FALSE);
    else
        FormatText(Output, Spec, String->Buffer, String->Length / (Spec->Wide ? 2 : 1), Spec->Wide);
}

static VOID FormatString(FORMAT_OUTPUT *Output, const FORMAT_SPEC *Spec, BOOLEAN Wide,
                         va_list *Arguments)
{
    const VOID *Text = va_arg(*Arguments, const VOID *);

    if (Text == NULL)
        FormatText(Output, Spec, "(null)", 6, FALSE);
    else
        FormatText(Output, Spec, Text, FormatLength(Spec, Text, Wide), Wide);
}

static VOID FormatOne(FORMAT_OUTPUT *Output, FORMAT_SPEC *Spec, CHAR Type, va_list *Arguments)
{
    WCHAR Character;

    switch (Type) {
    case 'd':
    case 'i':
        FormatSigned(Output, Spec, Arguments);
        break;
    case 'u':
        FormatNumber(Output, Spec, FormatInteger(Spec, FALSE, Arguments), 10, FALSE, "");
        break;
    case 'o':
        FormatNumber(Output, Spec, FormatInteger(Spec, FALSE, Arguments), 8, FALSE,
                     Spec->Alternate ? "0" : "");
        break;
    case 'x':
    case 'X': {
        ULONG64 Value = FormatInteger(Spec, FALSE, Arguments);
        const CHAR *Prefix = Spec->Alternate && Value != 0 ? (Type == 'x' ? "0x" : "0X") : "";
        FormatNumber(Output, Spec, Value, 16, Type == 'X', Prefix);
        break;
    }
    case 'p':
        Spec->Precision = 16;
        FormatNumber(Output, Spec, va_arg(*Arguments, ULONG64), 16, TRUE, "");
        break;
    case 'c':
    case 'C':
        Character = (WCHAR)va_arg(*Arguments, int);
        FormatText(Output, Spec, &Character, 1, TRUE);
        break;
    case 's':
        FormatString(Output, Spec, Spec->Wide, Arguments);
        break;
    case 'S':
        FormatString(Output, Spec, TRUE, Arguments);
        break;
    case 'Z':
        FormatCounted(Output, Spec, Arguments);
        break;
    default:
        FormatChar(Output, Type);
    }
}

int _vsnprintf(char *Buffer, SIZE_T Count, const char *Format, va_list Arguments)
{
    FORMAT_OUTPUT Output = {Buffer, Buffer + Count, FALSE, 0};
    FORMAT_SPEC Spec;
    va_list Rest;

    // A parameter of type va_list may decay to a pointer, a copy never does.
    __builtin_va_copy(Rest, Arguments);
    for (; *Format != 0; Format++) {
        if (*Format != '%') {
            FormatChar(&Output, *Format);
            continue;
        }
        Format = FormatParse(Format + 1, &Spec, &Rest);
        if (*Format == 0)
            break;
        FormatOne(&Output, &Spec, *Format, &Rest);
    }
    __builtin_va_end(Rest);
    if (Output.Overflow)
        return -1;
    if (Output.Next != Output.End)
        *Output.Next = 0;
    return (int)Output.Count;
}

int _snprintf(char *Buffer, SIZE_T Count, const char *Format, ...)
{
    va_list Arguments;

    va_start(Arguments, Format);
    int Length = _vsnprintf(Buffer, Count, Format, Arguments);
    va_end(Arguments);
    return Length;
}

NTSTATUS RtlStringCbVPrintfA(CHAR *Buffer, SIZE_T Size, const CHAR *Format, va_list Arguments)
{
    if (Size == 0)
        return STATUS_INVALID_PARAMETER;
    if (_vsnprintf(Buffer, Size - 1, Format, Arguments) >= 0) {
        Buffer[Size - 1] = 0;
        return STATUS_SUCCESS;
    }
    Buffer[Size - 1] = 0;
    return STATUS_BUFFER_OVERFLOW;
}

NTSTATUS RtlStringCbPrintfA(CHAR *Buffer, SIZE_T Size, const CHAR *Format, ...)
{
    va_list Arguments;

    va_start(Arguments, Format);
    NTSTATUS Status = RtlStringCbVPrintfA(Buffer, Size, Format, Arguments);
    va_end(Arguments);
    return Status;
}
