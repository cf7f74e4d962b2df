"""torchvision takes longer to import than torch; escrime's own networks do without it."""

import subprocess
import sys


def test_small_networks_need_no_torchvision():
    script = "import sys; from escrime.models import ARCHITECTURES, build, prepare; prepare(build('lenet', 10)); "
    subprocess.run([sys.executable, "-c", script + "assert 'torchvision' not in sys.modules"], check=True)
