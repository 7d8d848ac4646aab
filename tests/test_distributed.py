"""`distributed.Faces`: in this process, in other processes, and in Ray, Spark and Dask."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import mien
from mien import distributed, writers
from mien.errors import UserError


@pytest.fixture
def images(tmp_path, photo):
    """A table of paths: a face, no face, a text file, a missing file and the mirrored face."""
    with Image.open(photo) as image:
        image.save(tmp_path / "a.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "z.jpg")
    Image.new("RGB", (99, 80), "white").save(tmp_path / "wall.png")
    (tmp_path / "bad.png").write_text("text")
    names = ("a.png", "wall.png", "bad.png", "missing.png", "z.jpg")
    return pa.table({"path": [str(tmp_path / name) for name in names], "number": range(5)})


def names(table):
    return [Path(source).name for source in table["source"].to_pylist()]


def test_each_image_has_rows_and_an_unreadable_one_an_error(images):
    table = distributed.Faces()(images)
    assert table.schema == distributed.SCHEMA
    assert names(table) == ["a.png", "wall.png", "z.jpg", "bad.png", "missing.png"]
    errors = table["error"].to_pylist()
    assert errors[:3] == [None] * 3
    assert "bad.png" in errors[3]
    assert "missing.png" in errors[4]
    assert table["dominant_emotion"].to_pylist() == ["happy", None, "happy", None, None]


def test_the_table_equals_the_parquet_file(images, tmp_path):
    path = images["path"][0].as_py()
    with writers.open_writer(tmp_path / "faces.parquet") as write:
        for result in mien.Analyzer().stream(path):
            write(result)
    table = distributed.Faces()(images.slice(0, 1)).drop_columns("error")
    assert table.equals(pq.read_table(tmp_path / "faces.parquet"))


def test_bytes_are_named_by_another_column(images):
    with open(images["path"][0].as_py(), "rb") as file:
        content = file.read()
    inputs = pa.table({"content": [content, b"text", None], "key": ["face", "text", "null"]})
    table = distributed.Faces("content", "key")(inputs)
    assert table["source"].to_pylist() == ["face", "text", "null"]
    assert table["face_confidence"][0].as_py() > 0.9
    assert all(table["error"].to_pylist()[1:])
    assert distributed.Faces("content")(inputs)["source"].to_pylist() == [
        "bytes",
        "bytes",
        "NoneType",
    ]


def test_results_and_errors_of_paths_are_named_by_their_path(images):
    table = distributed.Faces("path", "number")(images)
    assert table["source"].to_pylist() == distributed.Faces()(images)["source"].to_pylist()
    assert names(table) == ["a.png", "wall.png", "z.jpg", "bad.png", "missing.png"]


def test_names_of_bytes_may_be_numbers(images):
    content = Path(images["path"][1].as_py()).read_bytes()
    for values in ([7, None], [7.5, 0.0], [True, False]):
        inputs = pa.table({"content": [content, b"text"], "id": values})
        table = distributed.Faces("content", "id")(inputs)
        expected = [str(value) if value is not None else "bytes" for value in values]
        assert table["source"].to_pylist() == expected


def test_a_data_frame_may_have_path_objects_and_other_columns(images):
    pandas = pytest.importorskip("pandas")
    paths = [Path(path) for path in images["path"].to_pylist()]
    frame = pandas.DataFrame({"path": paths, "id": range(5), "other": [object(), 1, "x", None, 2]})
    table = distributed.Faces("path").map_pandas(frame)
    assert [Path(path).name for path in table["source"]] == names(distributed.Faces()(images))
    with pytest.raises(UserError, match="'file'"):
        distributed.Faces("file").map_pandas(frame)


def test_unsupported_files_of_a_folder_are_counted_in_an_error_row(tmp_path, photo):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(photo.read_bytes())
    (tmp_path / "in/notes.txt").write_text("text")
    table = distributed.Faces()(pa.table({"path": [str(tmp_path / "in")]}))
    assert names(table) == ["a.png", "in"]
    assert "1 .txt" in table["error"][1].as_py()


def test_a_video_has_a_row_per_frame(tmp_path, photo):
    cv2 = pytest.importorskip("cv2")
    clip = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter.fourcc(*"MJPG"), 10, (512, 512))
    for _ in range(4):
        writer.write(cv2.imread(str(photo)))
    writer.release()
    table = distributed.Faces()(pa.table({"path": [str(photo), clip, str(tmp_path / "no.mp4")]}))
    assert names(table) == ["astronaut.png", *["clip.avi"] * 4, "no.mp4"]
    assert table["seconds"].to_pylist()[1:5] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert table["smoothed_happy"][4].as_py() > 0.9


def test_an_empty_table_has_no_faces():
    empty = pa.table({"path": pa.array([], pa.string())})
    assert distributed.Faces()(empty).schema == distributed.SCHEMA
    assert list(distributed.Faces().map_in_arrow([])) == []


def test_a_missing_column_is_an_error(images):
    with pytest.raises(UserError, match=r"file.*path, number"):
        distributed.Faces("file")(images)


@pytest.mark.distributed
def test_faces_in_other_processes_are_the_same(images):
    faces = distributed.Faces()
    faces(images)  # loads the models
    assert len(pickle.dumps(faces)) < 300  # the models are not pickled
    parts = [images.slice(0, 2), images.slice(4, 1)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        table = pa.concat_tables(pool.map(faces, parts))
    assert table.equals(pa.concat_tables(map(faces, parts)))


# The engines, if they are installed: pip install ray pyspark dask

IGNORE_WARNINGS = pytest.mark.filterwarnings("ignore")  # of the engines about themselves


@pytest.mark.distributed
@IGNORE_WARNINGS
def test_ray_batches_have_the_faces_and_errors_of_all_images(images):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        dataset = ray.data.from_arrow(images).repartition(2)
        table = dataset.map_batches(distributed.Faces(), batch_format="pyarrow").to_pandas()
    finally:
        ray.shutdown()
    assert sorted(table["dominant_emotion"].dropna()) == ["happy", "happy"]
    assert table["error"].notna().sum() == 2


@pytest.mark.distributed
@IGNORE_WARNINGS
def test_spark_partitions_have_the_faces_and_errors_of_all_images(images):
    pyspark = pytest.importorskip("pyspark.sql")
    from pyspark.sql.pandas.types import from_arrow_schema

    spark = pyspark.SparkSession.builder.master("local[2]").getOrCreate()
    try:
        frame = spark.createDataFrame(images).repartition(2)
        table = frame.mapInArrow(
            distributed.Faces().map_in_arrow, from_arrow_schema(distributed.SCHEMA)
        ).toPandas()
    finally:
        spark.stop()
    assert sorted(table["dominant_emotion"].dropna()) == ["happy", "happy"]
    assert table["error"].notna().sum() == 2


@pytest.mark.distributed
@IGNORE_WARNINGS
def test_dask_partitions_have_the_faces_and_errors_of_all_images(images):
    dask = pytest.importorskip("dask.dataframe")
    frame = dask.from_pandas(images.to_pandas(), npartitions=2)
    empty = distributed.SCHEMA.empty_table().to_pandas()
    table = frame.map_partitions(distributed.Faces().map_pandas, meta=empty).compute()
    assert sorted(table["dominant_emotion"].dropna()) == ["happy", "happy"]
    assert table["error"].notna().sum() == 2
