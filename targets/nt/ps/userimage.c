// Stand-ins for user images until there is user code: a PE header and a page of breakpoints.
#include "pspuser.h"

// Documented PE layout, as far as it is filled.
typedef struct _PSP_IMAGE {
    USHORT Magic;                           // IMAGE_DOS_HEADER
    UCHAR Unused[0x3A];
    ULONG NewHeader;
    ULONG Signature;                        // IMAGE_NT_HEADERS64
    USHORT Machine, NumberOfSections;
    ULONG TimeDateStamp, Symbols[2];
    USHORT SizeOfOptionalHeader, Characteristics;
    USHORT OptionalMagic, LinkerVersion;
    ULONG SizeOfCode, SizeOfData[2], AddressOfEntryPoint, BaseOfCode;
    ULONG64 ImageBase;
    ULONG SectionAlignment, FileAlignment;
    USHORT SystemVersion[2], ImageVersion[2], SubsystemVersion[2];
    ULONG Win32Version, SizeOfImage, SizeOfHeaders, CheckSum;
    USHORT Subsystem, DllCharacteristics;
    ULONG64 Stack[2], Heap[2];
    ULONG LoaderFlags, NumberOfRvaAndSizes;
    ULONG Directories[16][2];
    CHAR SectionName[8];                    // IMAGE_SECTION_HEADER
    ULONG VirtualSize, VirtualAddress, SizeOfRawData, PointerToRawData, Pointers[2], Numbers;
    ULONG SectionCharacteristics;
} PSP_IMAGE, *PPSP_IMAGE;
_Static_assert(FIELD_OFFSET(PSP_IMAGE, OptionalMagic) == 0x58, "IMAGE_OPTIONAL_HEADER64");
_Static_assert(FIELD_OFFSET(PSP_IMAGE, SectionName) == 0x58 + 0xF0, "IMAGE_SECTION_HEADER");

#define MACHINE_AMD64 0x8664
#define EXECUTABLE_IMAGE 0x0002
#define LARGE_ADDRESS_AWARE 0x0020
#define IMAGE_FILE_DLL 0x2000
#define PE32_PLUS 0x20B
#define WINDOWS_GUI 2
#define TEXT_CODE_EXECUTE_READ 0x60000020

// A number that the seed decides: splitmix64 of the key.
ULONG64 PspDrawAddress(ULONG64 Key, ULONG64 Low, ULONG64 High, ULONG64 Alignment)
{
    ULONG64 x = KeLoaderBlock->Entropy[7] + Key * 0x9E3779B97F4A7C15ULL;

    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ x >> 27) * 0x94D049BB133111EBULL;
    x ^= x >> 31;
    return Low + x % ((High - Low) / Alignment) * Alignment;
}

// One for all processes, below the last 2 GiB that user space has for system DLLs.
ULONG64 PspSystemDllBase(ULONG Index)
{
    return PspDrawAddress(0, 0x7FFC00000000, 0x7FFDC0000000, 0x1000000) + (2 - Index) * 0x400000;
}

// Linkers that build reproducibly put a hash here.
ULONG PspImageTimeDateStamp(PCSTR Name)
{
    ULONG Hash = 2166136261u;

    for (; *Name; Name++)
        Hash = (Hash ^ (UCHAR)RtlUpperChar(*Name)) * 16777619u;
    return Hash;
}

static VOID PspFillUserImage(PPSP_IMAGE Image, PCSTR Name, BOOLEAN Dll)
{
    Image->Magic = 'ZM';
    Image->NewHeader = FIELD_OFFSET(PSP_IMAGE, Signature);
    Image->Signature = 'EP';
    Image->Machine = MACHINE_AMD64;
    Image->NumberOfSections = 1;
    Image->TimeDateStamp = PspImageTimeDateStamp(Name);
    Image->SizeOfOptionalHeader = 0xF0;
    Image->Characteristics =
        EXECUTABLE_IMAGE | LARGE_ADDRESS_AWARE | (Dll ? IMAGE_FILE_DLL : 0);
    Image->OptionalMagic = PE32_PLUS;
    Image->SizeOfCode = PAGE_SIZE;
    Image->AddressOfEntryPoint = Image->BaseOfCode = PSP_USER_IMAGE_ENTRY;
    Image->ImageBase = (ULONG64)Image;
    Image->SectionAlignment = Image->FileAlignment = PAGE_SIZE;
    Image->SystemVersion[0] = Image->ImageVersion[0] = Image->SubsystemVersion[0] = 10;
    Image->SizeOfImage = PSP_USER_IMAGE_SIZE;
    Image->SizeOfHeaders = PAGE_SIZE;
    Image->Subsystem = WINDOWS_GUI;
    Image->NumberOfRvaAndSizes = 16;
    memcpy(Image->SectionName, ".text", 5);
    Image->VirtualSize = Image->VirtualAddress = PAGE_SIZE;
    Image->SizeOfRawData = Image->PointerToRawData = PAGE_SIZE;
    Image->SectionCharacteristics = TEXT_CODE_EXECUTE_READ;
    memset((PUCHAR)Image + PSP_USER_IMAGE_ENTRY, 0xCC, 16);
}

NTSTATUS PspMapUserImage(PEPROCESS Process, ULONG64 Base, PCSTR Name, BOOLEAN Dll)
{
    SIZE_T Pages = PSP_USER_IMAGE_SIZE / PAGE_SIZE;
    NTSTATUS Status = MmReserveUserPages(Process, (PVOID)Base, Pages, MM_EXECUTE_READWRITE);

    if (NT_SUCCESS(Status))
        Status = MmCommitUserPages(Process, (PVOID)Base, Pages, MM_EXECUTE_READWRITE);
    if (NT_SUCCESS(Status))
        PspFillUserImage((PPSP_IMAGE)Base, Name, Dll);
    return Status;
}
