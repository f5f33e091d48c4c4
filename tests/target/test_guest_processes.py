"""Tokens, user halves, handles and queues at the initial break, rebuilt from bytes alone."""

import struct
from collections import Counter
from itertools import pairwise

import pytest

from kdsim.symbols.views import View, list_entries
from kdsim.target.lab import ACCOUNTS, find_lab
from kdsim.target.machine.paging import AddressSpace

PAGE = 0x1000
FAST_REF = 0xF
OWNER = 4
TIMER_BLOCK = 3


@pytest.fixture(scope="module")
def user_processes(kernel):
    """(EPROCESS, what the lab says about it), System left out."""
    processes = list(kernel.processes())[1:]
    return list(zip(processes, find_lab("lab").processes, strict=True))


def space_of(booted, process: View) -> AddressSpace:
    return AddressSpace(booted.system.machine.ram, process["Pcb.DirectoryTableBase"])


def view_in(space: AddressSpace, kernel, type_name: str, va: int) -> View:
    return View(space, kernel.record(type_name), va)


def token_of(kernel, process: View) -> View:
    return kernel.view("_TOKEN", process["Token.Value"] & ~FAST_REF)


def sid(memory, va: int) -> str:
    revision, count, authority = struct.unpack(">BBxxI", memory.read(va, 8))
    parts = struct.unpack(f"<{count}I", memory.read(va + 8, 4 * count))
    return "-".join(map(str, ("S", revision, authority, *parts)))


def object_type(kernel, body: int) -> str:
    header = body - kernel.record("_OBJECT_HEADER").offset("Body")
    index = kernel.view("_OBJECT_HEADER", header).TypeIndex
    index ^= header >> 8 & 0xFF ^ kernel.read("ObHeaderCookie", 1)
    kind = int.from_bytes(
        kernel.memory.read(kernel.address("ObTypeIndexTable") + 8 * index, 8), "little"
    )
    return kernel.unicode(kernel.view("_OBJECT_TYPE", kind).Name)


# -- tokens ------------------------------------------------------------------------------------


USERS = {
    "system": "S-1-5-18",
    "local service": "S-1-5-19",
    "network service": "S-1-5-20",
    "window manager": "S-1-5-90-0-1",
}


def test_every_process_has_a_token_of_its_own(kernel) -> None:
    tokens = [token_of(kernel, process) for process in kernel.processes()]
    assert len({token.address for token in tokens}) == len(tokens)
    ids = [(token.TokenId.HighPart, token.TokenId.LowPart) for token in tokens]
    assert len(set(ids)) == len(ids)
    for token in tokens:
        assert object_type(kernel, token.address) == "Token"
        assert token.TokenInUse == 1


def test_tokens_name_the_labs_accounts(kernel, user_processes) -> None:
    for process, wanted in user_processes:
        token = token_of(kernel, process)
        user = sid(kernel.memory, kernel.view("_SID_AND_ATTRIBUTES", token.UserAndGroups).Sid)
        account = ACCOUNTS[wanted.account]
        if account == "user":
            assert user.startswith("S-1-5-21-")
            assert user.endswith("-1001")
        else:
            assert user == USERS[account]
        assert token.SessionId == wanted.session
        # What is enabled is held; nobody runs without bypassing traverse checks.
        held = token.Privileges
        assert held.Enabled & ~held.Present == 0
        assert held.Enabled >> 23 & 1


def test_groups_lie_in_the_variable_part_and_are_hashed(kernel) -> None:
    size = kernel.record("_SID_AND_ATTRIBUTES").size
    for process in kernel.processes():
        token = token_of(kernel, process)
        start = token.at("VariablePart")
        assert token.UserAndGroups == start
        for index in range(token.UserAndGroupCount):
            entry = kernel.view("_SID_AND_ATTRIBUTES", start + index * size)
            assert start < entry.Sid < start + token.VariableLength
            last = int(sid(kernel.memory, entry.Sid).rpartition("-")[2]) & 0xFF
            for word in (last & 0xF, 16 + (last >> 4)):
                assert token["SidHash.Hash"][word] >> index & 1
        label = kernel.view("_SID_AND_ATTRIBUTES", start + token.IntegrityLevelIndex * size)
        assert sid(kernel.memory, label.Sid).startswith("S-1-16-")


def test_objects_carry_their_creators_descriptor(kernel, user_processes) -> None:
    body = kernel.record("_OBJECT_HEADER").offset("Body")
    for process, _ in user_processes:
        token = token_of(kernel, process)
        size = kernel.record("_SID_AND_ATTRIBUTES").size
        owner = kernel.view(
            "_SID_AND_ATTRIBUTES", token.UserAndGroups + token.DefaultOwnerIndex * size
        ).Sid
        objects = [process, token, *kernel.threads(process)]
        shared = set()
        for found in objects:
            header = kernel.view("_OBJECT_HEADER", found.address - body)
            descriptor = header.SecurityDescriptor & ~FAST_REF
            view = kernel.view("_SECURITY_DESCRIPTOR_RELATIVE", descriptor)
            assert (view.Revision, view.Control) == (1, 0x8004)
            assert sid(kernel.memory, descriptor + view.Owner) == sid(kernel.memory, owner)
            shared.add(descriptor)
        # Processes and threads have the same rights: one descriptor does for all of them.
        assert len(shared) == 2


def test_equal_descriptors_are_kept_once(kernel) -> None:
    head = kernel.address("ObsSecurityDescriptorCache")
    record = kernel.record("_SECURITY_DESCRIPTOR_HEADER")
    kept = list(list_entries(kernel.memory, head, record, "Link"))
    contents = {
        kernel.memory.read(entry.at("SecurityDescriptor"), 20)
        + entry.FullHash.to_bytes(4, "little")
        for entry in kept
    }
    assert len(contents) == len(kept)
    assert all(entry.RefCount > 0 for entry in kept)


# -- the user half -----------------------------------------------------------------------------


def test_system_has_no_user_half(booted, kernel) -> None:
    system = next(kernel.processes())
    assert system.Peb == 0
    assert all(thread["Tcb.Teb"] == 0 for thread in kernel.threads(system))


def test_the_peb_leads_to_the_modules_and_parameters(booted, kernel, user_processes) -> None:
    for process, wanted in user_processes:
        space = space_of(booted, process)
        peb = view_in(space, kernel, "_PEB", process.Peb)
        assert peb.ImageBaseAddress == process.SectionBaseAddress
        assert (peb.OSMajorVersion, peb.OSBuildNumber, peb.SessionId) == (10, 19045, wanted.session)
        head = view_in(space, kernel, "_PEB_LDR_DATA", peb.Ldr).at("InLoadOrderModuleList")
        record = kernel.record("_LDR_DATA_TABLE_ENTRY")
        modules = list(list_entries(space, head, record, "InLoadOrderLinks"))
        assert modules[0].DllBase == peb.ImageBaseAddress
        names = [text(space, module.BaseDllName) for module in modules]
        assert names[:2] == [wanted.name, "ntdll.dll"]
        for module in modules:
            assert space.read(module.DllBase, 2) == b"MZ"
            new = module.DllBase + space.read_u64(module.DllBase + 0x3C) % (1 << 32)
            assert space.read(new, 4) == b"PE\0\0"
            assert space.read_u64(new + 8) & 0xFFFF_FFFF == module.TimeDateStamp
        parameters = view_in(space, kernel, "_RTL_USER_PROCESS_PARAMETERS", peb.ProcessParameters)
        assert text(space, parameters.ImagePathName).endswith(wanted.name)
        variables = space.read(parameters.Environment, parameters.EnvironmentSize)
        strings = variables.decode("utf-16-le").split("\0")
        assert "SystemRoot=C:\\Windows" in strings
        assert strings[-2:] == ["", ""]


def text(space: AddressSpace, string: View) -> str:
    return space.read(string.Buffer, string.Length).decode("utf-16-le")


def test_each_user_thread_has_a_teb_on_a_stack(booted, kernel, user_processes) -> None:
    for process, wanted in user_processes:
        space = space_of(booted, process)
        stacks = set()
        for thread in kernel.threads(process):
            teb = view_in(space, kernel, "_TEB", thread["Tcb.Teb"])
            assert teb.NtTib.Self == teb.address
            assert teb.ProcessEnvironmentBlock == process.Peb
            assert teb.ClientId.UniqueThread == thread.Cid.UniqueThread
            assert teb.DeallocationStack < teb.NtTib.StackLimit < teb.NtTib.StackBase
            assert len(space.read(teb.NtTib.StackBase - PAGE, PAGE)) == PAGE
            stacks.add(teb.NtTib.StackBase)
            assert kernel.unicode(kernel.view("_UNICODE_STRING", thread.ThreadName))
        assert len(stacks) == wanted.threads


def regions(kernel, process: View) -> list[tuple[int, int, int]]:
    """(first page, last page, commit charge) of the VAD tree, checked for order and balance."""
    found: list[tuple[int, int, int]] = []

    def walk(node: int, parent: int) -> int:
        if not node:
            return 0
        vad = kernel.view("_MMVAD_SHORT", node)
        assert vad["VadNode.ParentValue"] & ~7 == parent
        left = walk(vad["VadNode.Left"], node)
        first = vad.StartingVpnHigh << 32 | vad.StartingVpn
        last = vad.EndingVpnHigh << 32 | vad.EndingVpn
        found.append((first, last, vad["u1.VadFlags1.CommitCharge"]))
        right = walk(vad["VadNode.Right"], node)
        assert (right - left) & 3 == vad["VadNode.Balance"]
        assert abs(right - left) <= 1
        return 1 + max(left, right)

    walk(process["VadRoot.Root"], 0)
    return found


def mapped_pages(booted, process: View) -> list[int]:
    """Every page that the user half of the page tables maps for user mode."""
    ram = booted.system.machine.ram
    found: list[int] = []

    def walk(table: int, level: int, base: int) -> None:
        for index, entry in enumerate(struct.unpack("<512Q", ram.read(table, PAGE))):
            if not entry & 1 or (level == 4 and index >= 256):
                continue
            assert entry & OWNER
            page = base << 9 | index
            if level == 1:
                found.append(page)
            else:
                walk(entry & 0xF_FFFF_FFFF_F000, level - 1, page)

    walk(process["Pcb.DirectoryTableBase"], 4, 0)
    return found


def test_regions_account_for_every_user_page(booted, kernel, user_processes) -> None:
    shared = 0x7FFE0
    for process, _ in user_processes:
        vads = regions(kernel, process)
        assert len(vads) == process.VadCount
        assert vads == sorted(vads)
        assert all(a[1] < b[0] for a, b in pairwise(vads))
        pages = mapped_pages(booted, process)
        for first, last, committed in vads:
            inside = [page for page in pages if first <= page <= last]
            assert len(inside) == (committed if first != shared else 1)
        private = len(pages) - 1
        assert sum(charge for _, _, charge in vads) == private
        assert private == process.NumberOfPrivatePages == process.CommitCharge
        assert private == process["Vm.Instance.WorkingSetSize"]
        assert sum((last - first + 1) * PAGE for first, last, _ in vads) == process.VirtualSize


# -- handles -----------------------------------------------------------------------------------


def handles(kernel, process: View) -> dict[int, int]:
    """Handle -> object body, of a table with one page of entries."""
    table = kernel.view("_HANDLE_TABLE", process.ObjectTable)
    assert table.TableCode & 3 == 0
    body = kernel.record("_OBJECT_HEADER").offset("Body")
    raw = kernel.memory.read(table.TableCode, PAGE)
    found = {}
    for index in range(1, PAGE // 16):
        low = int.from_bytes(raw[index * 16 : index * 16 + 8], "little")
        if low >> 20:
            found[index * 4] = (low >> 20 << 4 | 0xFFFF << 48) + body
    assert len(found) == table.FreeLists[0].HandleCount
    return found


def test_a_parent_holds_its_children_and_a_process_its_token(kernel) -> None:
    processes = {process.UniqueProcessId: process for process in kernel.processes()}
    for process in processes.values():
        parent = processes.get(process.InheritedFromUniqueProcessId)
        if parent is None:
            continue
        assert process.address in handles(kernel, parent).values()
        own = handles(kernel, process).values()
        kinds = Counter(object_type(kernel, found) for found in own)
        assert kinds["Token"] == 1
        assert {"Event", "Semaphore", "Mutant", "IoCompletion", "Directory"} <= kinds.keys()
        assert token_of(kernel, process).address in own


def test_a_session_lists_its_processes_and_has_an_object(kernel, user_processes) -> None:
    system = set(handles(kernel, next(kernel.processes())).values())
    for space in {process.Session for process, _ in user_processes}:
        session = kernel.view("_MM_SESSION_SPACE", space)
        members = [process.address for process, _ in user_processes if process.Session == space]
        listed = list_entries(
            kernel.memory,
            session.at("ProcessList"),
            kernel.record("_EPROCESS"),
            "SessionProcessLinks",
        )
        assert [process.address for process in listed] == members
        assert session.ReferenceCount == len(members)
        assert object_type(kernel, session.SessionObject) == "Session"
        assert int.from_bytes(kernel.memory.read(session.SessionObject, 8), "little") == space
        assert session.SessionObject in system


# -- waiting and being ready -------------------------------------------------------------------


def test_a_mutant_that_is_waited_for_has_an_owner(kernel, user_processes) -> None:
    found = 0
    for process, _ in user_processes:
        threads = {thread.address for thread in kernel.threads(process)}
        for body in handles(kernel, process).values():
            if object_type(kernel, body) == "Mutant":
                mutant = kernel.view("_KMUTANT", body)
                assert mutant.OwnerThread in threads
                assert mutant["Header.SignalState"] == 0
                found += 1
    assert found == len(user_processes)


def test_time_goes_to_the_thread_that_ran(kernel) -> None:
    system = next(kernel.processes())
    used = {thread["Tcb.CycleTime"] for thread in kernel.threads(system)}
    assert len(used) > 2
    for process in kernel.processes():
        assert process["CreateTime.QuadPart"] > 0
        for thread in kernel.threads(process):
            ran = thread["Tcb.ContextSwitches"] > 0
            assert bool(thread["Tcb.CycleTime"]) <= ran
