"""Tables of pictures into tables of faces: alone, in other processes, and in real engines."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import mien as package
from mien import distributed, writers
from mien.errors import UserError


@pytest.fixture
def pictures(tmp_path, photo):
    """Paths: the astronaut, a wall, text with a picture's name, nothing, the astronaut again."""
    with Image.open(photo) as image:
        image.save(tmp_path / "a.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "z.jpg")
    Image.new("RGB", (99, 80), "white").save(tmp_path / "wall.png")
    (tmp_path / "bad.png").write_text("text")
    names = ("a.png", "wall.png", "bad.png", "nothing.png", "z.jpg")
    return pa.table({"path": [str(tmp_path / name) for name in names], "number": range(5)})


def names(found):
    return [Path(source).name for source in found["source"].to_pylist()]


def test_each_picture_has_its_rows_and_a_bad_one_its_error(pictures):
    found = distributed.Faces()(pictures)
    assert found.schema == distributed.SCHEMA
    assert names(found) == ["a.png", "wall.png", "z.jpg", "bad.png", "nothing.png"]
    errors = found["error"].to_pylist()
    assert errors[:3] == [None] * 3
    assert "not an image" in errors[3]
    assert "file not found" in errors[4]
    assert found["dominant_emotion"].to_pylist() == ["happy", None, "happy", None, None]


def test_the_table_is_what_parquet_holds(pictures, tmp_path):
    place = pictures["path"][0].as_py()
    with writers.open_writer(tmp_path / "faces.parquet") as write:
        for result in package.Analyzer().stream(place):
            write(result)
    found = distributed.Faces()(pictures.slice(0, 1)).drop_columns("error")
    assert found.equals(pq.read_table(tmp_path / "faces.parquet"))


def test_bytes_are_called_by_another_column(pictures):
    with open(pictures["path"][0].as_py(), "rb") as file:
        body = file.read()
    table = pa.table({"body": [body, b"junk", None], "key": ["one", "two", "three"]})
    found = distributed.Faces("body", "key")(table)
    assert found["source"].to_pylist() == ["one", "two", "three"]
    assert found["face_confidence"][0].as_py() > 0.9
    assert all(found["error"].to_pylist()[1:])
    assert distributed.Faces("body")(table)["source"].to_pylist() == ["bytes", "bytes", "NoneType"]


def test_a_video_gives_all_its_frames(tmp_path, photo):
    cv2 = pytest.importorskip("cv2")
    clip = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter.fourcc(*"MJPG"), 10, (512, 512))
    for _ in range(4):
        writer.write(cv2.imread(str(photo)))
    writer.release()
    found = distributed.Faces()(pa.table({"path": [str(photo), clip, str(tmp_path / "no.mp4")]}))
    assert names(found) == ["astronaut.png", *["clip.avi"] * 4, "no.mp4"]
    assert found["seconds"].to_pylist()[1:5] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert found["smoothed_happy"][4].as_py() > 0.9


def test_no_pictures_give_no_rows():
    empty = pa.table({"path": pa.array([], pa.string())})
    assert distributed.Faces()(empty).schema == distributed.SCHEMA
    assert list(distributed.Faces().map_in_arrow([])) == []


def test_a_column_that_is_not_there_gets_one_sentence(pictures):
    with pytest.raises(UserError, match=r"no column .file.*path, number"):
        distributed.Faces("file")(pictures)


@pytest.mark.distributed
def test_it_is_sent_to_other_processes_and_makes_its_analyzer_there(pictures):
    faces = distributed.Faces()
    faces(pictures)
    assert len(pickle.dumps(faces)) < 300
    parts = [pictures.slice(0, 2), pictures.slice(4, 1)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = pa.concat_tables(pool.map(faces, parts))
    assert found.equals(pa.concat_tables(map(faces, parts)))


# The engines themselves, where they are installed: pip install ray pyspark dask

OWN_WARNINGS = pytest.mark.filterwarnings("ignore")


@pytest.mark.distributed
@OWN_WARNINGS
def test_in_ray(pictures):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        dataset = ray.data.from_arrow(pictures).repartition(2)
        found = dataset.map_batches(distributed.Faces(), batch_format="pyarrow").to_pandas()
    finally:
        ray.shutdown()
    assert sorted(found["dominant_emotion"].dropna()) == ["happy", "happy"]
    assert found["error"].notna().sum() == 2


@pytest.mark.distributed
@OWN_WARNINGS
def test_in_spark(pictures):
    pyspark = pytest.importorskip("pyspark.sql")
    from pyspark.sql.pandas.types import from_arrow_schema

    spark = pyspark.SparkSession.builder.master("local[2]").getOrCreate()
    try:
        frame = spark.createDataFrame(pictures).repartition(2)
        found = frame.mapInArrow(
            distributed.Faces().map_in_arrow, from_arrow_schema(distributed.SCHEMA)
        ).toPandas()
    finally:
        spark.stop()
    assert sorted(found["dominant_emotion"].dropna()) == ["happy", "happy"]
    assert found["error"].notna().sum() == 2


@pytest.mark.distributed
@OWN_WARNINGS
def test_in_dask(pictures):
    dask = pytest.importorskip("dask.dataframe")
    frame = dask.from_pandas(pictures.to_pandas(), npartitions=2)
    nothing = distributed.SCHEMA.empty_table().to_pandas()
    found = frame.map_partitions(distributed.Faces().map_pandas, meta=nothing).compute()
    assert sorted(found["dominant_emotion"].dropna()) == ["happy", "happy"]
    assert found["error"].notna().sum() == 2
