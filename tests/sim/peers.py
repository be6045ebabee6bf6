#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the real mdadm, LVM2 and qemu-img say of dumped disks, beside what our own checkers say.

usage: peers.py [--check PROGRAM] DIR...     each DIR holds the disks of one world (sim --dump): NAME.img

Every member that the checker calls valid has to be one for mdadm, with the same role, events and state; every group has to be one
for LVM2, with the same PVs, volumes and extents, also on what an array holds. Every qcow2 image has to pass `qemu-img check`, with leaks
where the checker sees some, and to hold for QEMU what the checker reads. All of it happens on copies, as loop devices that
nothing else sees. Exit status: 0 they agree, 1 they do not, 77 (with the reason) where a tool is missing."""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CHECK = os.path.join(HERE, "..", "..", "build", "tests", "sim", "check")


class Disagreement(Exception):
    pass


def expect(what, ours, theirs):
    if ours != theirs:
        raise Disagreement(f"{what}: we say {ours}, they {theirs}")


def run(*words, statuses=(0,), env=None):
    p = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120, env=env)
    if p.returncode not in statuses:
        raise Disagreement(f"{' '.join(words)}: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout + p.stderr


class Loops:
    """Loop devices on files, detached in the end."""

    def __init__(self):
        self.devices = {}

    def attach(self, path, *options):
        self.devices[path] = run("losetup", "-f", "--show", *options, path).strip()
        return self.devices[path]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        for device in self.devices.values():
            run("losetup", "-d", device)


# --- md ---

def fields(text):
    """'   Name : value' lines as a dictionary."""
    pairs = (line.split(" : ", 1) for line in text.splitlines() if " : " in line)
    return {name.strip(): value.strip() for name, value in pairs}


def hexadecimal(uuid):
    return uuid.replace(":", "")


def role(member):
    if member["role"] < 0:
        return "spare"
    return f"{'Replacement' if member['replacement'] else 'Active'} device {member['role']}"


def check_member(array, member, path):
    name = member["disk"]
    said = fields(run("mdadm", "--examine", path))
    expect(f"{name}: array", array["uuid"], hexadecimal(said["Array UUID"]))
    expect(f"{name}: version", "1.2", said["Version"])
    if not said["Checksum"].endswith("- correct"):
        raise Disagreement(f"{name}: checksum {said['Checksum']}")
    expect(f"{name}: events", member["events"], int(said["Events"]))
    expect(f"{name}: role", role(member), said["Device Role"])
    expect(f"{name}: state", "active" if member["dirty"] else "clean", said["State"])
    if array["raid_disks"]:
        check_shape(array, name, said)


def check_shape(array, name, said):
    expect(f"{name}: level", f"raid{array['level']}", said["Raid Level"])
    expect(f"{name}: members", array["raid_disks"], int(said["Raid Devices"]))
    if array["level"] and array["size_bytes"]:
        # mdadm does not count in whole chunks, as the kernel does
        beyond = int(said["Array Size"].split()[0]) * 1024 - array["size_bytes"]
        if not 0 <= beyond <= array["raid_disks"] * array["chunk_bytes"]:
            raise Disagreement(f"{name}: array size {said['Array Size']}, we say {array['size_bytes']}")


def check_bitmap(array, member, path, loops):
    name = member["disk"]
    said = fields(run("mdadm", "--examine-bitmap", loops.attach(path, "--read-only")))
    expect(f"{name}: bitmap's array", array["uuid"], hexadecimal(said["UUID"]))
    expect(f"{name}: bitmap's events", member["bitmap_events"], int(said["Events"]))
    bits = re.search(r"(\d+) bits \(chunks\), (\d+) dirty", said["Bitmap"])
    expect(f"{name}: bits", [member["bits"], member["bits_set"]], [int(n) for n in bits.groups()])


def check_not_a_member(path):
    said = subprocess.run(["mdadm", "--examine", path], capture_output=True, text=True, errors="replace").stdout
    if "- correct" in said and fields(said).get("Version") == "1.2":
        raise Disagreement(f"{os.path.basename(path)}: mdadm takes what the checker does not:\n{said}")


def check_arrays(verdict, directory):
    members = 0
    seen = set()
    with Loops() as loops:
        for array in verdict["arrays"]:
            for member in array["members"]:
                path = os.path.join(directory, member["disk"])
                check_member(array, member, path)
                if "bitmap_events" in member:
                    check_bitmap(array, member, path, loops)
                seen.add(member["disk"])
                members += 1
    for path in glob.glob(os.path.join(directory, "*.img")):
        if os.path.basename(path) not in seen:
            check_not_a_member(path)
    return members


# --- LVM2 ---

CONFIG = """devices {{ filter = [ {accepted}, "r|.*|" ] use_devicesfile = 0 scan_lvs = 0 obtain_device_list_from_udev = 0
    external_device_info_source = "none" md_component_detection = 0 }}
global {{ locking_dir = "{directory}/lock" use_lvmpolld = 0 notify_dbus = 0 }}
activation {{ udev_sync = 0 udev_rules = 0 monitoring = 0 }}
backup {{ backup = 0 archive = 0 backup_dir = "{directory}/backup" archive_dir = "{directory}/archive" }}
"""


class Lvm:
    """LVM2 with a configuration of its own, in which there are these devices and nothing else of the machine."""

    def __init__(self, directory, devices):
        os.mkdir(directory)
        accepted = ", ".join(f'"a|^{d}$|"' for d in devices)
        with open(os.path.join(directory, "lvm.conf"), "w") as f:
            f.write(CONFIG.format(accepted=accepted, directory=directory))
        self.env = dict(os.environ, LVM_SYSTEM_DIR=directory, LVM_SUPPRESS_FD_WARNINGS="1", LC_ALL="C")

    def run(self, verb, *words):
        return run("lvm", verb, "--driverloaded", "n", *words, env=self.env)

    def report(self, verb, columns, *words):
        """Rows of columns; warnings are not rows."""
        p = subprocess.run(["lvm", verb, "--driverloaded", "n", "--noheadings", "--units", "b", "--nosuffix", "--separator", "\t", "-o",
                            columns, *words], capture_output=True, text=True, errors="replace", timeout=120, env=self.env)
        if p.returncode:
            raise Disagreement(f"{verb}: exit {p.returncode}\n{p.stderr}")
        return [line.strip().split("\t") for line in p.stdout.splitlines() if line.strip()]


def without_dashes(uuid):
    return uuid.replace("-", "")


def check_group(lvm, vg, pvs, names):
    rows = lvm.report("vgs", "vg_uuid,vg_name,vg_seqno,vg_extent_size,pv_count,vg_missing_pv_count", vg["name"])
    rows = [[without_dashes(row[0])] + row[1:] for row in rows]
    expect(f"group {vg['name']}", [[vg["uuid"], vg["name"], str(vg["seqno"]), str(vg["extent_bytes"]), str(vg["pvs"]), str(vg["missing"])]],
           rows)
    volumes = {row[0]: row[1:] for row in lvm.report("lvs", "lv_name,lv_uuid,lv_size", vg["name"])}
    expect(f"volumes of {vg['name']}", sorted(lv["name"] for lv in vg["lvs"]), sorted(volumes))
    for lv in vg["lvs"]:
        uuid, size = volumes[lv["name"]]
        expect(f"volume {lv['name']}", [lv["uuid"], lv["size_bytes"]], [without_dashes(uuid), int(size)])
    if vg["missing"] == 0:
        check_extents(lvm, vg, names)
    if vg["missing"] == 0 and not any(pv["state"] == "damaged" for pv in pvs):
        check_consistency(lvm, vg, pvs)


def check_extents(lvm, vg, names):
    theirs = {}
    for lv, ranges in lvm.report("lvs", "lv_name,seg_pe_ranges", "--segments", vg["name"]):
        for piece in ranges.split():
            device, first, last = re.fullmatch(r"(.*):(\d+)-(\d+)", piece).groups()
            theirs.setdefault(lv, []).append(f"{names[device]} {first} {int(last) - int(first) + 1}")
    for lv in vg["lvs"]:
        expect(f"extents of {lv['name']}", lv["extents"], theirs.get(lv["name"], []))


def check_consistency(lvm, vg, pvs):
    """Copies that a crash has left behind are caught up first."""
    if any(pv["state"] == "behind" for pv in pvs):
        lvm.run("vgck", "--updatemetadata", vg["name"])
    said = lvm.run("vgck", vg["name"])
    if re.search(r"inconsistent|incorrect|mismatch|\bbad\b|invalid|repair|fail|ignor", said, re.I):
        raise Disagreement(f"vgck {vg['name']}: {said}")


def check_pv(lvm, pv, device):
    said = lvm.run("pvck", "--dump", "headers", device)
    if re.search(r"error|\bbad\b|wrong|should be|invalid|mismatch", said, re.I):
        raise Disagreement(f"pvck {pv['device']}: {said}")
    if pv["seqno"]:
        seqno = re.search(r"^seqno = (\d+)", lvm.run("pvck", "--dump", "metadata", device), re.M)
        expect(f"{pv['device']}: seqno", pv["seqno"], int(seqno.group(1)))


def find_image(directory, arrays, device):
    name = device if device.endswith(".img") else device + ".img"
    return os.path.join(directory if device.endswith(".img") else arrays, name)


def check_groups(verdict, directory, arrays, tmp):
    pvs = [pv for pv in verdict["pvs"] if pv["uuid"]]  # what has no valid label has none
    if not pvs:
        return 0
    with Loops() as loops:
        devices = {pv["device"]: loops.attach(find_image(directory, arrays, pv["device"])) for pv in pvs}
        lvm = Lvm(os.path.join(tmp, "lvm"), devices.values())
        names = {device: name for name, device in devices.items()}
        uuids = [without_dashes(row[0]) for row in lvm.report("pvs", "pv_uuid")]
        expect("PVs", sorted(pv["uuid"] for pv in pvs), sorted(uuids))
        for pv in pvs:
            if pv["state"] != "damaged":
                check_pv(lvm, pv, devices[pv["device"]])
        for vg in verdict["vgs"]:
            check_group(lvm, vg, [pv for pv in pvs if pv.get("vg") == vg["name"]], names)
    return len(pvs)


# --- qcow2 images ---

LEAKS = 3  # an exit status of `qemu-img check`


def image_name(path, backing, **more):
    """How QEMU is to open it: the backing by us, not by the name in the header."""
    image = {"driver": "qcow2", "file": {"driver": "file", "filename": path}, "backing": None, **more}
    if backing:
        image["backing"] = {"driver": "raw", "file": {"driver": "file", "filename": backing}}
    return "json:" + json.dumps(image)


def check_image(image, directory, ours):
    path = os.path.join(directory, image["file"])
    name = image_name(path, os.path.join(directory, "backing.img") if image["backed"] else None)
    p = subprocess.run(["qemu-img", "check", name], capture_output=True, text=True, errors="replace", timeout=120)
    if p.returncode != (LEAKS if image["leaks"] else 0):
        raise Disagreement(f"{image['file']}: {image['leaks']} leaks; qemu-img check: exit {p.returncode}\n{p.stdout}{p.stderr}")
    for number, disk in enumerate(image["disks"]):
        theirs = os.path.join(ours, "theirs.raw")
        snapshot = ["-l", f"snapshot.name={disk['name']}"] if number else []
        run("qemu-img", "convert", *snapshot, "-O", "raw", name, theirs)
        with open(theirs, "rb") as a, open(os.path.join(ours, f"{image['file']}.{number}.raw"), "rb") as b:
            a, b = a.read(), b.read()
            both = min(len(a), len(b)) if number else None  # QEMU shows snapshots in the size of the disk as it is now
            if a[:both] != b[:both]:
                raise Disagreement(f"{image['file']}: QEMU reads something else from {disk['name'] or 'the disk'}")


# --- worlds ---

def copy_images(directory, to):
    os.mkdir(to)
    images = glob.glob(os.path.join(directory, "*.img"))
    if not images:
        raise Disagreement("no disks there")
    for image in images:
        run("cp", "--sparse=always", image, to)


def check_world(program, directory, tmp):
    copies, arrays = os.path.join(tmp, "disks"), os.path.join(tmp, "arrays")
    copy_images(directory, copies)
    os.mkdir(arrays)
    verdict = json.loads(run(program, copies, arrays, statuses=(0, 1)))
    problems = [p for array in verdict["arrays"] for p in array["problems"]] + verdict["problems"]
    problems += [image["problems"] for image in verdict["images"] if image["problems"]]
    members = check_arrays(verdict, copies)
    pvs = check_groups(verdict, copies, arrays, tmp)
    for image in verdict["images"]:
        if not image["problems"]:
            check_image(image, copies, arrays)
    return (f"{members} members of {len(verdict['arrays'])} arrays, {pvs} PVs of {len(verdict['vgs'])} groups, "
            f"{len(verdict['images'])} images, {len(problems)} problems")


def skip(reason):
    print(f"SKIP: {reason}")
    sys.exit(77)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", default=CHECK, metavar="PROGRAM")
    parser.add_argument("dirs", nargs="+", metavar="DIR")
    args = parser.parse_args()
    for tool in "mdadm", "lvm", "losetup", "qemu-img":
        if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/sbin:/usr/sbin"):
            skip(f"{tool} is not installed")
    if os.geteuid() or subprocess.run(["losetup", "-f"], capture_output=True).returncode:
        skip("loop devices cannot be attached here")
    failed = False
    for directory in args.dirs:
        with tempfile.TemporaryDirectory(prefix="ashlar-peers.") as tmp:
            try:
                print(f"ok: {directory}: {check_world(args.check, directory, tmp)}", flush=True)
            except Disagreement as e:
                print(f"FAILED: {directory}: {e}", flush=True)
                failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
