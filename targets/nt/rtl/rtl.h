// Run-time library, as far as the driver's header does not declare it. No state of its own.
#pragma once
#include "ntos.h"

SIZE_T RtlCompareMemory(const VOID *First, const VOID *Second, SIZE_T Length);

// C strings.
int strcmp(const char *First, const char *Second);
int strncmp(const char *First, const char *Second, SIZE_T Count);
char *strchr(const char *String, int Character);
SIZE_T wcslen(PCWSTR String);
PWCHAR wcsrchr(PCWSTR String, WCHAR Character);
int _wcsicmp(PCWSTR First, PCWSTR Second);

// Counted strings.
FORCEINLINE VOID RtlInitEmptyUnicodeString(PUNICODE_STRING String, PWCHAR Buffer, USHORT Size)
{
    String->Length = 0;
    String->MaximumLength = Size;
    String->Buffer = Buffer;
}
CHAR RtlUpperChar(CHAR Character);
WCHAR RtlUpcaseUnicodeChar(WCHAR Character);
WCHAR RtlDowncaseUnicodeChar(WCHAR Character);
BOOLEAN RtlPrefixUnicodeString(PCUNICODE_STRING Prefix, PCUNICODE_STRING String,
                               BOOLEAN CaseInsensitive);
NTSTATUS RtlAnsiStringToUnicodeString(PUNICODE_STRING Destination, const STRING *Source,
                                      BOOLEAN Allocate);
NTSTATUS RtlUnicodeStringToAnsiString(PANSI_STRING Destination, PCUNICODE_STRING Source,
                                      BOOLEAN Allocate);
VOID RtlFreeUnicodeString(PUNICODE_STRING String);
VOID RtlFreeAnsiString(PANSI_STRING String);

// Formatting. A result that does not fit is cut; the return value says so.
NTSTATUS RtlStringCbVPrintfA(PCHAR Buffer, SIZE_T Size, PCSTR Format, va_list Arguments);
NTSTATUS RtlStringCbPrintfA(PCHAR Buffer, SIZE_T Size, PCSTR Format, ...);

// Red-black trees; the caller finds the place, the tree keeps the balance.
VOID RtlRbInsertNodeEx(PRTL_RB_TREE Tree, PRTL_BALANCED_NODE Parent, BOOLEAN Right,
                       PRTL_BALANCED_NODE Node);
VOID RtlRbRemoveNode(PRTL_RB_TREE Tree, PRTL_BALANCED_NODE Node);
PRTL_BALANCED_NODE RtlpRbNextNode(PRTL_BALANCED_NODE Node);

// The same with heights in place of colours: nothing is removed yet.
VOID RtlAvlInsertNodeEx(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Parent, BOOLEAN Right,
                        PRTL_BALANCED_NODE Node);

// AVL tables of caller-defined elements; each element follows its RTL_BALANCED_LINKS.
typedef enum _RTL_GENERIC_COMPARE_RESULTS {
    GenericLessThan,
    GenericGreaterThan,
    GenericEqual,
} RTL_GENERIC_COMPARE_RESULTS;
typedef RTL_GENERIC_COMPARE_RESULTS RTL_AVL_COMPARE_ROUTINE(PRTL_AVL_TABLE Table, PVOID First,
                                                            PVOID Second);
typedef PVOID RTL_AVL_ALLOCATE_ROUTINE(PRTL_AVL_TABLE Table, ULONG Size);
typedef VOID RTL_AVL_FREE_ROUTINE(PRTL_AVL_TABLE Table, PVOID Buffer);
VOID RtlInitializeGenericTableAvl(PRTL_AVL_TABLE Table, RTL_AVL_COMPARE_ROUTINE *Compare,
                                  RTL_AVL_ALLOCATE_ROUTINE *Allocate, RTL_AVL_FREE_ROUTINE *Free,
                                  PVOID Context);
PVOID RtlInsertElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Element, ULONG Size,
                                      PBOOLEAN New);
BOOLEAN RtlDeleteElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Element);
PVOID RtlLookupElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Element);

// Bitmaps.
#define RTL_NO_BITS_FOUND 0xFFFFFFFF
VOID RtlInitializeBitMap(PRTL_BITMAP Map, PULONG Buffer, ULONG Bits);
VOID RtlClearAllBits(PRTL_BITMAP Map);
BOOLEAN RtlTestBit(const RTL_BITMAP *Map, ULONG Bit);
VOID RtlSetBits(PRTL_BITMAP Map, ULONG First, ULONG Count);
VOID RtlClearBits(PRTL_BITMAP Map, ULONG First, ULONG Count);
ULONG RtlFindClearBits(const RTL_BITMAP *Map, ULONG Count, ULONG Hint);
ULONG RtlFindClearBitsAndSet(PRTL_BITMAP Map, ULONG Count, ULONG Hint);
ULONG RtlNumberOfSetBits(const RTL_BITMAP *Map);

// Interlocked stacks of 16-byte aligned entries (slist.c).
VOID RtlInitializeSListHead(PSLIST_HEADER Head);
PSLIST_ENTRY RtlpInterlockedPushEntrySList(PSLIST_HEADER Head, PSLIST_ENTRY Entry);
PSLIST_ENTRY RtlpInterlockedPopEntrySList(PSLIST_HEADER Head);
PSLIST_ENTRY RtlFirstEntrySList(const SLIST_HEADER *Head);
