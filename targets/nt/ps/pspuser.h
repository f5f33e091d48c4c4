// The user half of processes: what ntdll and the loader would have made there.
#pragma once
#include "psp.h"
#include "se/se.h"

#define PSP_STACK_RESERVE 0x100000ULL

// Where things lie in one process.
typedef struct _PSP_USER_LAYOUT {
    ULONG64 Environment;                    // 2 MiB: the PEB and the TEBs; stacks follow
    PPEB Peb;
    ULONG64 Heap;
    ULONG64 Image;
    ULONG64 Ntdll;
} PSP_USER_LAYOUT, *PPSP_USER_LAYOUT;

// userimage.c
ULONG64 PspDrawAddress(ULONG64 Key, ULONG64 Low, ULONG64 High, ULONG64 Alignment);
ULONG64 PspSystemDllBase(ULONG Index);      // 0 ntdll.dll, 1 kernel32.dll, 2 KERNELBASE.dll
NTSTATUS PspMapUserImage(PEPROCESS Process, ULONG64 Base, PCSTR Name, BOOLEAN Dll);
#define PSP_USER_IMAGE_SIZE 0x2000
#define PSP_USER_IMAGE_ENTRY 0x1000
#define PSP_USER_IMAGE_DATA 0x1800          // zero-initialised, behind the code
ULONG PspImageTimeDateStamp(PCSTR Name);

// peb.c: attached to the process
NTSTATUS PspCreateUserHalf(PEPROCESS Process, KDSIM_PROCESS *Wanted, PPSP_USER_LAYOUT Layout);
PTEB PspCreateTeb(PEPROCESS Process, PPSP_USER_LAYOUT Layout, ULONG Index);

// userthread.c
typedef struct _PSP_USER_OBJECTS PSP_USER_OBJECTS, *PPSP_USER_OBJECTS;
PPSP_USER_OBJECTS PspCreateUserObjects(PEPROCESS Process, PTOKEN Token, ULONG Threads);
NTSTATUS PspCreateUserThread(PEPROCESS Process, PPSP_USER_LAYOUT Layout, PPSP_USER_OBJECTS Objects,
                             ULONG Index);
