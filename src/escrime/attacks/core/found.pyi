"""Which attacks there are. python docs/tables.py writes this; found.py finds them at run time."""

from ..apgd import APGD as APGD
from ..auto_attack import AutoAttack as AutoAttack
from ..carlini_wagner import CarliniWagner as CarliniWagner
from ..corruption import Corruption as Corruption
from ..deepfool import DeepFool as DeepFool
from ..dgsm import DGSM as DGSM
from ..fgsm import FGSM as FGSM
from ..fmn import FMN as FMN
from ..hop_skip_jump import HopSkipJump as HopSkipJump
from ..patch import Patch as Patch
from ..pgd import PGD as PGD
from ..random_patch import RandomPatch as RandomPatch
from ..random_points import RandomPoints as RandomPoints
from ..rays import RayS as RayS
from ..sigma_zero import SigmaZero as SigmaZero
from ..sparse_rs import SparseRS as SparseRS
from ..spatial import Spatial as Spatial
from ..square import Square as Square
from ..transfer import Transfer as Transfer
from ..universal_patch import UniversalPatch as UniversalPatch
from ..universal_pgd import UniversalPGD as UniversalPGD
from ..worst_case import WorstCase as WorstCase
