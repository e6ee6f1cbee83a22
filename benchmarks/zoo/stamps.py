"""Cut-out photos of 130 things that are ImageNet-1k classes, out of a Debian package of stamps for Tux Paint.

Source: Debian ``tuxpaint-stamps-default=2022.06.04-1`` (GPL-2), read where it lies and never redistributed.
Each thing lists the classes that are right for it, as several are when the photo does not tell (a tree
frog or a bullfrog). One digest pins all files: see ``Package.group``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.zoo.fetch import Package

STAMPS = Package("debian", "tuxpaint-stamps-default", "2022.06.04-1")
ROOT = "usr/share/tuxpaint/stamps"
DIGEST = "0937279593555c9aa0684410d7d84040efbaeae998ef097295407814dc654d10"
SIDE = 224  # pixels
# folder: file:class/class ... ; a line that is indented goes on with the folder above
TABLE = """
animals/amphibians: frog:30/31/32 frog-1:30/31/32
animals/birds: adelaide-rosella:87/88/89/90 albino_peahen:84 chicken_profile:7/8 crowned_crane:134 drake:97
  duck:97/98/99 gander:99 hen:8 heron_greatblue:131/132/134 heron_greatblue_flying:131/132/134
  little-penguin:145 magellanic_penguin:145 magpie:18 ostrich:9 owl:24 peacock:84 pelican:144 penguin:145
  pink_flamingo:130 rainbow-lorikeet:90 rooster:7 tucan:96 vulture:23
animals/fish: clownfish:393 lionfish:396 lobster:122/123
animals/insects: Brown_slug:114 bee:309 fly:308 grasshopper:311/312 hoverfly:308/309 mantis:315
animals/lizards: iguana:39/40
animals/mammals/apes: chimp:367 gorilla:366
animals/mammals/aquatic: orca:148 otter:360 sea_lion:150 whale:147/148
animals/mammals: badger:362 echidna:102 elephant:101/385/386 ferret:356/357/358/359 hedgehog:334
  hippopotamus:344 pig:341 rabbit_little:330/331/332 wildboar:342
animals/mammals/bears: bear:294/295 european-bear:294
animals/mammals/bears/toys: edward_bear:850
animals/mammals/bovines: bison:347 bull:345 cow:345 cow_white:345 indian_blackbuck:351/352/353
  mountaingoat:349/350 ram:348/349 sheep:348
animals/mammals/camel: camel:354 dromedary:354
animals/mammals/cats: lion:291 lion-2:291 tiger:292 tiger_sumatran:292
animals/mammals/dogs: dingo:273 fox:277/278/280
animals/mammals/equines: horse:339 zebra:340
animals/mammals/rodents: beaver:337 marmot:336 rabbit:330/331/332 squirrel:335
animals/marsupials: kangaroo:104 koala:105 wombat:106
clothes/hats: sombrero:808
clothes: t_sock:806
food/fruit: Strawberry2:949 apple_granny_smith:948 apple_green:948 banana:954 cherimoya:956 lemon:951
  mandarine:950 orange:950 orange_seville:950 pineapple:953 pomegranate:957 strawberry:949
food: pizza:963
food/vegetables: broccoli:937 corn:987/998 mushroom:947/992/997 pepper:945 yellowpepper:945
hobbies: binoculars:447 camera_35mm:759/732
hobbies/music/brass: trumpet:513
hobbies/music/string: cello:486 guitar_classical:402 guitar_electric:546 guitar_electric_bass:546 violin:889
hobbies/music/wind: bassoon:432
household/dishes: mug:504 teapot:849
household: garbagecan:412 toilet:861 wheelie_bin:412
household/tools: hammer:587
medical: bandage_adhesive:419 stethoscope:823 syringe:845
plants/mushrooms: cep:947/992/997 cep-1:947/992/997
sports: basketball:430 soccer:805 tennis_ball:852 tennis_racket:752
town/roadsigns: stoplight_01_red:920 stoplight_03_green:920
vehicles/auto: sportscar2:817/511/479/436
vehicles/emergency: firetruck:555
vehicles/flight: balloon360:417
vehicles/flight/planes: 747:404
vehicles: garbagetruck:569
vehicles/race: indycar:751
"""


@dataclass(frozen=True)
class Stamp:
    """A photo with an alpha channel and the ImageNet-1k classes that are right for it."""

    image: Image.Image
    classes: tuple[int, ...]


def stamps() -> list[Stamp]:
    """All stamps, in the order of ``TABLE``.

    Raises:
        FetchError: The package cannot be had.
    """
    classes: dict[str, tuple[int, ...]] = {}
    for line in TABLE.strip().replace("\n  ", " ").splitlines():
        folder, things = line.split(": ")
        for thing in things.split():
            name, _, labels = thing.rpartition(":")
            classes[f"{ROOT}/{folder}/{name}.png"] = tuple(int(c) for c in labels.split("/"))
    paths = STAMPS.group(list(classes), DIGEST)
    return [Stamp(Image.open(paths[member]).convert("RGBA"), c) for member, c in classes.items()]


def composed(stamp: Stamp, g: np.random.Generator) -> NDArray[np.uint8]:
    """The stamp on a plain, vertically shaded ground: ``uint8 [224, 224, 3]``; size, place and side are drawn."""
    box = stamp.image.getchannel("A").point([0] * 17 + [255] * 239).getbbox()
    image = stamp.image.crop(box)
    zoom = g.uniform(150, 205) / max(image.size)
    size = (max(8, round(image.width * zoom)), max(8, round(image.height * zoom)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    if g.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    colour = g.uniform(120, 235, 3)
    colour = 0.35 * colour + 0.65 * colour.mean()
    shade = np.linspace(g.uniform(0.8, 1.0), g.uniform(0.9, 1.1), SIDE)[:, None, None]
    ground = np.broadcast_to(colour * shade, (SIDE, SIDE, 3))
    page = Image.fromarray(np.clip(np.rint(ground), 0, 255).astype(np.uint8))
    place = (int(g.integers(4, 221 - image.width)), int(g.integers(4, 221 - image.height)))
    page.paste(image, place, image)
    return np.asarray(page, np.uint8)
